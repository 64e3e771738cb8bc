"""One client's test program against one coordinator, with the program's orders to kill and restart it obeyed."""

import subprocess
import threading


class Session:
    def __init__(self, client, coordinator, tally, only, minutes_max):
        self.client = client
        self.coordinator = coordinator
        self.tally = tally
        self.only = only
        self.seconds_max = minutes_max * 60
        self.directory = coordinator.directory.parent
        self.program = None

    def run(self):
        """Builds nothing; starts the coordinator on an empty store and reports every line of the program."""
        self.coordinator.wipe()
        try:
            self.coordinator.start()
            self.drive()
        except (OSError, RuntimeError) as problem:
            self.tally.broken(self.client.name, str(problem))
        finally:
            self.coordinator.stop()

    def abort(self):
        """Ends what this session started; the processes of the test program end with its standard input."""
        for process in (self.program, self.coordinator.process):
            if process and process.poll() is None:
                process.kill()

    def drive(self):
        command = self.client.command(self.directory / "client", self.coordinator.port, self.only)
        with open(self.directory / "client.log", "wb") as log:
            self.program = program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                                      cwd=self.directory, text=True, encoding="utf-8", errors="replace")
        watchdog = threading.Timer(self.seconds_max, program.kill)
        watchdog.start()
        told = None
        try:
            for line in program.stdout:
                told = self.line(line.rstrip("\n"), program) or told
        finally:
            watchdog.cancel()
            program.kill()
            program.wait()
        if told is None:
            self.tally.broken(self.client.name, f"test program ended without a summary, see {self.directory}/client.log")

    def line(self, line, program):
        """Handles one line; returns the summary when it is that."""
        if line.startswith("@"):
            program.stdin.write(self.obey(line[1:]) + "\n")
            program.stdin.flush()
        elif line.startswith(("PASS ", "FAIL ")):
            word, scenario, rest = line.split(" ", 2)
            self.tally.result(self.client.name, scenario, word == "PASS", rest)
        elif line.endswith(" failed"):
            return line
        return None

    def obey(self, order):
        try:
            {"kill": self.coordinator.kill, "start": self.coordinator.start}[order]()
            return "ok"
        except (KeyError, OSError, RuntimeError) as problem:
            return "error " + str(problem).replace("\n", " ")
