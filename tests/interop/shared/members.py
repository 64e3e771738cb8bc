"""Java applications beside the coordinators: members that obey, and applications under load that tell what happens to them."""

import subprocess
import threading

from driver.java_client import JavaClient, configure, small_jvm
from driver.orders import Process

# A client waits 30 s for an answer that a dead coordinator will not give; 1.4.2 cannot be told otherwise, later ones can.
PATIENCE = """transport {
 rpcTmRequestTimeout = 5000
 rpcRmRequestTimeout = 5000
}
"""

# Parts that are played at the same time make the same classes.
BUILDING = threading.Lock()


class Clients:
    """Builds of the Java client, by version, and the processes made of them."""

    def __init__(self, directory):
        self.directory = directory
        self.builds = {}
        self.started = 0
        self.running = []

    def build(self, version):
        with BUILDING:
            if version not in self.builds:
                made = JavaClient(version)
                made.build()
                self.builds[version] = made.made
            return self.builds[version]

    def java(self, version, ports, main, options=(), arguments=(), more=""):
        """The command of a process that knows the coordinators at these ports, and its directory."""
        self.started += 1
        directory = self.directory / f"client-{self.started}"
        configure(directory / "conf", *ports, more=more)
        classpath = self.build(version).classpath(directory / "conf")
        return ["java", *small_jvm(directory), *options, "-cp", classpath, f"interop.{main}", *arguments], directory

    def member(self, version, ports, application, *resources):
        """A process of the application whose RM serves these (type, resource) from its first frame on, and that has a TM."""
        command, directory = self.java(version, ports, "Member")
        member = Member(command, directory / "log", directory)
        self.running.append(member)
        member.order("start", application, *(field for resource in resources for field in resource))
        member.order("manage")
        return member

    def load(self, version, ports, application, events, **options):
        """An application under load; its events go into `events`."""
        settings = [f"-Dload.{name.replace('_', '.')}={value}" for name, value in options.items()]
        command, directory = self.java(version, ports, "Load", settings, [application], PATIENCE)
        load = Load(command, directory, events)
        self.running.append(load)
        return load

    def kill(self):
        for process in self.running:
            process.kill()


class Member(Process):
    def begin(self, timeout_ms=60_000):
        return self.order("begin", "shared", str(timeout_ms))

    def register(self, kind, resource, xid, row=""):
        return int(self.order("register", kind, resource, xid, "{}", row))

    def commit(self, xid):
        return self.order("commit", xid)

    def rollback(self, xid):
        return self.order("rollback", xid)

    def status(self, xid):
        return self.order("status", xid)

    def free(self, resource, row):
        """Whether nobody holds the row."""
        return self.order("lockable", resource, "127.0.0.1:8091:1", row) == "true"

    def heard_of(self, xid):
        """The phase-two calls for this transaction: (commit or rollback, branch)."""
        with self.heard:
            return [(call[0], int(call[3])) for call in self.calls if call[2] == xid]


class Load:
    """A running interop.Load."""

    def __init__(self, command, directory, events):
        self.events = events
        self.ready = threading.Event()
        self.done = threading.Event()
        with open(directory / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=directory, text=True,
                                            encoding="utf-8", errors="replace")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            at, word, *fields = line.rstrip("\n").split("\t")
            if word == "ready":
                self.ready.set()
            elif word == "done":
                self.done.set()
            else:
                self.events.add(int(at), word, fields)
        self.ready.set()

    def stop(self):
        """No new transactions; those that are open go on to their end."""
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
