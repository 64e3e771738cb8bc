"""Two processes talking: a server and a client, one of them getty's, and what their lines say about it."""

import queue
import re
import subprocess
import threading
import time

from driver.coordinator import free_port


class Endpoint:
    """One process; its lines come through a queue. It ends with its standard input."""

    running = set()
    lock = threading.Lock()

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, encoding="utf-8", errors="replace")
        self.lines = []
        self.queue = queue.Queue()
        with Endpoint.lock:
            Endpoint.running.add(self.process)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.queue.put(line.rstrip("\n"))
        self.queue.put(None)

    def until(self, found, seconds):
        """Takes lines until `found(line)`, the end or the time; returns the line that was found."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self.queue.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if line is None:
                return None
            self.lines.append(line)
            if found(line):
                return line

    def kill(self):
        self.process.kill()
        self.process.wait()
        with Endpoint.lock:
            Endpoint.running.discard(self.process)

    @classmethod
    def kill_all(cls):
        for process in list(cls.running):
            process.kill()


class Conversation:
    """One scenario with one version of getty in one direction."""

    def __init__(self, version, direction, scenario, ours, getty, files, patience):
        self.version, self.direction, self.scenario = version, direction, scenario
        self.programs = {"ours": ours, "getty": getty}
        self.files = files
        # How many seconds the client waits for progress. Who is known to wait in vain need not wait long.
        self.patience = patience
        self.address = None

    def command(self, what, side):
        scenario = self.scenario
        flags = dict(scenario.both)
        if what == "drive":
            flags["patience"] = f"{self.patience * 1000}ms"
            flags.update(scenario.drive)
        flags.update(scenario.getty if side == "getty" else scenario.ours)
        flags["at"] = self.address
        if flags.get("transport") in ("tls", "wss"):
            flags.update(certificate=self.files / "server.pem", key=self.files / "server.key",
                         trusted=self.files / "authority.pem")
        command = [str(self.programs[side]), what]
        for name, value in flags.items():
            command += [f"-{name}", str(value)]
        return command

    def run(self):
        """Whether all was well, and the words for it."""
        server_side, client_side = ("ours", "getty") if self.direction == "in" else ("getty", "ours")
        self.address = f"127.0.0.1:{free_port()}"
        server = client = None
        try:
            server = self.serve(server_side)
            client = Endpoint(self.command("drive", client_side))
            if self.scenario.restart:
                if client.until(lambda line: line == "ready", self.patience + 30) is None:
                    return False, f"client never ready: {client.lines[-3:]}"
                # getty looks after its pool for a moment after a connect; what it does later is the question.
                time.sleep(0.7)
                server.kill()
                # Long enough for the client to find nobody there.
                time.sleep(1)
                server = self.serve(server_side)
            last = client.until(lambda line: line.startswith(("done", "failed")), 3 * self.patience + 30)
            if last is None or not last.startswith("done"):
                server.until(lambda line: False, 0.3)
                return False, f"client: {client.lines[-3:]} server: {server.lines[-3:]}"
            return self.verdict(server, client, last)
        except RuntimeError as problem:
            return False, str(problem)
        finally:
            for endpoint in (client, server):
                if endpoint:
                    endpoint.kill()

    def serve(self, side):
        server = Endpoint(self.command("serve", side))
        if server.until(lambda line: line.startswith("listening"), 60) is None:
            server.kill()
            raise RuntimeError(f"server does not listen: {server.lines[-3:]}")
        return server

    def verdict(self, server, client, last):
        scenario = self.scenario
        if scenario.counts:
            sessions = scenario.drive.get("sessions", 1)
            wanted = scenario.drive.get("messages", 100) + (scenario.drive.get("mode") == "remote")
            ends = []

            def ended(line):
                if line.startswith("closed") and not line.startswith("closed 0"):
                    ends.append(line)
                return len(ends) == sessions

            if server.until(ended, 60) is None:
                return False, f"server saw {len(ends)} of {sessions} sessions end: {server.lines[-3:]}"
            if any(line.split()[1] != str(wanted) for line in ends):
                return False, f"server did not get {wanted} messages: {ends}"
            reasons = {"closed" if scenario.drive.get("mode") == "remote" else "closed by peer", ""}
            if "illegal close code" in scenario.tolerated:
                reasons.add("transport protocol broken")
            if any(" ".join(line.split()[2:]) not in reasons for line in ends):
                return False, f"server saw another end: {ends}"
        errors = [line for line in server.lines + client.lines if line.startswith("error") and not re.search(scenario.tolerated, line)]
        if errors and not scenario.restart:
            return False, f"errors: {errors[:3]}"
        return True, last
