"""Processes that obey lines. An order is a line of fields separated by tabs; its answer is a line `re`, then `ok` and values, or
`error`, a kind and a text. A line `call` tells of something that happened in the process by itself."""

import queue
import subprocess
import threading

ORDER_SECONDS_MAX = 60


class Refused(Exception):
    """The peer answered that it could not do it."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Broken(Exception):
    """The peer is gone or does not answer."""


class Process:
    """A running peer."""

    def __init__(self, command, log, cwd):
        self.calls = []
        self.heard = threading.Condition()
        self.answers = queue.Queue()
        with open(log, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, cwd=cwd, text=True,
                                            encoding="utf-8", errors="replace")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            word, *fields = line.rstrip("\n").split("\t")
            if word == "re":
                self.answers.put(fields)
            elif word == "call":
                with self.heard:
                    self.calls.append(fields)
                    self.heard.notify_all()
        self.answers.put(["gone"])

    def order(self, *fields):
        try:
            self.process.stdin.write("\t".join(fields) + "\n")
            self.process.stdin.flush()
            answer = self.answers.get(timeout=ORDER_SECONDS_MAX)
        except (OSError, queue.Empty) as problem:
            self.kill()
            raise Broken(f"{fields[0]}: no answer ({problem!r})") from None
        if answer[0] == "gone":
            raise Broken(f"{fields[0]}: the process is gone, exit code {self.process.wait()}")
        if answer[0] != "ok":
            raise Refused(answer[1], f"{fields[0]} failed: {answer[2]}")
        return answer[1] if len(answer) > 1 else ""

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """kill -9; returns when it is gone."""
        if self.alive():
            self.process.kill()
        self.process.wait()
