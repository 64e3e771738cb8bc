"""The servers: how each is built and started. They only run while they are measured, and are stopped in between."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from . import places

GETTY = ("1.3.10", "1.4.3", "1.5.0")
NETTY = "4.1.128.Final"


def commands():
    """Every server by name: its command, and what has to be there to build it."""
    release, peers = places.RELEASE, places.PEERS
    known = {
        "raw": ([release / "raw"], "cargo"),
        "raw-unframed": ([release / "raw", "--unframed"], "cargo"),
        "ours": ([release / "ours"], "cargo"),
        "ours-spinning": ([release / "ours", "--spin"], "cargo"),
        "ours-bulk": ([release / "ours", "--bulk"], "cargo"),
        "ours-workers-1": ([release / "ours", "--workers", "1"], "cargo"),
        "ours-workers-2": ([release / "ours", "--workers", "2"], "cargo"),
        "tokio": ([release / "tokio-echo"], "cargo"),
        "tokio-multi": ([release / "tokio-echo", "--threads", "2"], "cargo"),
    }
    for version in GETTY:
        known[f"getty-{version}"] = ([peers / f"getty-{version}"], "go")
        known[f"getty-{version}-pool"] = ([peers / f"getty-{version}", "-pool"], "go")
    java = ["java", "-Xms256m", "-Xmx1g", "-cp", f"{peers / 'netty-classes'}:{peers / 'netty-libs'}/*", "echo.Echo"]
    known["netty-nio"] = ([*java, "nio"], "java")
    known["netty-epoll"] = ([*java, "epoll"], "java")
    return {name: ([str(word) for word in command], tool) for name, (command, tool) in known.items()}


class Unavailable(Exception):
    """A server cannot be built here."""


def quiet(command, **options):
    try:
        outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    except FileNotFoundError as missing:
        raise Unavailable(f"{command[0]} is not installed") from missing
    if outcome.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command[:3]))}: {outcome.stdout[-800:]}")


def build_rust():
    quiet(["cargo", "build", "--release", "--locked", "--manifest-path", places.ECHO / "Cargo.toml", "--target-dir", places.TARGET])


def build_go():
    places.PEERS.mkdir(parents=True, exist_ok=True)
    for version in GETTY:
        tags = ["-tags", "getty1_3"] if version.startswith("1.3") else []
        quiet(["go", "build", "-buildvcs=false", *tags, f"-modfile={places.GETTY_VERSIONS / version}.mod",
               "-o", places.PEERS / f"getty-{version}", "."], cwd=places.ECHO / "getty")


def build_java():
    libraries = places.PEERS / "netty-libs"
    if not any(libraries.glob(f"netty-codec-{NETTY}.jar")):
        shutil.rmtree(libraries, ignore_errors=True)
        quiet(["mvn", "-q", "-B", "-f", places.ECHO / "netty" / "pom.xml", "dependency:copy-dependencies",
               f"-DoutputDirectory={libraries}", "-DincludeScope=runtime"])
    quiet(["javac", "-cp", f"{libraries}/*", "-d", places.PEERS / "netty-classes", places.ECHO / "netty" / "src" / "echo" / "Echo.java"])


def build(names):
    """Builds what these need; gives back those that can run, and says why the others cannot."""
    known = commands()
    build_rust()
    usable = {"cargo"}
    for tool, builder in (("go", build_go), ("java", build_java)):
        if any(known[name][1] == tool for name in names):
            try:
                builder()
                usable.add(tool)
            except Unavailable as why:
                print(f"# left out, for want of {tool}: {why}", flush=True)
    return [name for name in names if known[name][1] in usable]


class Peer:
    """One server process."""

    def __init__(self, name, cores, environment=None, raised=False):
        self.name = name
        self.cores = cores
        self.environment = environment or {}
        self.raised = raised
        self.process = None
        self.port = None

    @property
    def is_alone(self):
        """Whether it has one thread that matters, so that nothing but a stranger can keep it from its core."""
        return self.name in ("raw", "raw-unframed", "ours", "ours-bulk", "ours-spinning", "tokio")

    @property
    def needs_warmth(self):
        return self.name.startswith("netty")

    def start(self):
        command, _ = commands()[self.name]
        environment = dict(os.environ, **self.environment)
        if self.name.startswith("getty"):
            environment.setdefault("GOMAXPROCS", str(len(self.cores)))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment,
                                        start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, self.cores))
        line = self.process.stdout.readline()
        if "listening on" not in line:
            raise Unavailable(f"{self.name} does not listen: {line!r}")
        self.port = int(line.rsplit(":", 1)[1])
        if self.raised:
            raise_priority(self.process.pid)
        time.sleep(0.2)
        self.pause()

    def settle(self, patience=5.0):
        """Waits until it has done with the connections that were closed, so that this is not in its next sample."""
        if self.name == "ours-spinning":
            return
        until = time.monotonic() + patience
        before = self.cpu_seconds()
        while time.monotonic() < until:
            time.sleep(0.05)
            now = self.cpu_seconds()
            if now - before < 0.005:
                return
            before = now

    def cpu_seconds(self):
        """Of all its threads, from the scheduler's own accounts."""
        nanos = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.process.pid}/task/{task}/schedstat", encoding="utf-8") as times:
                nanos += int(times.read().split()[0])
        return nanos / 1e9

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.resume()
                self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(next(line for line in status if line.startswith("VmRSS:")).split()[1])


def raise_priority(pid):
    """The whole session of the process goes before everything else; only root may do so."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/autogroup", "w", encoding="utf-8") as group:
        group.write("-19")
