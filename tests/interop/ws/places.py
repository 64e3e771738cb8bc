"""Directories and programs of these tests: what they make is below target/interop/ws, what they start they end."""

import subprocess
import sys
import threading

from driver import places, tools

WORK = places.WORK / "ws"
OURS = places.TARGET / "debug" / "examples" / "ws_peer"


def build_ours():
    subprocess.run(["cargo", "build", "--quiet", "--all-features", "--example", "ws_peer"], cwd=places.ROOT, check=True)


def python_with(*packages):
    """The interpreter of an environment with these packages."""
    environment = WORK / "python"
    python = environment / "bin" / "python"
    done = environment / ("with-" + "-".join(packages))
    if done.exists():
        return python
    for command in ([sys.executable, "-m", "venv", str(environment)], [str(python), "-m", "pip", "install", "-q", *packages]):
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        if made.returncode != 0:
            raise tools.Missing(f"Python packages {' '.join(packages)}: {made.stdout[-300:]}")
    done.touch()
    return python


class Program:
    """A program that runs beside the test; its lines are kept."""

    running = []

    def __init__(self, *command, cwd=None):
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, text=True, cwd=cwd)
        Program.running.append(self)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()
        with self.changed:
            self.lines.append("")
            self.changed.notify_all()

    def expect(self, start, seconds=120):
        """The rest of the first line that begins so."""
        found = lambda: next((line for line in self.lines if line.startswith(start)), None)
        with self.changed:
            self.changed.wait_for(lambda: found() is not None or self.process.poll() is not None, seconds)
            line = found()
        if line is None:
            raise RuntimeError(f"no line {start!r}, but {self.lines[-5:]}")
        return line[len(start):].strip()

    def wait(self, seconds):
        self.process.wait(seconds)
        return self.process.returncode

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @classmethod
    def end_all(cls):
        for program in cls.running:
            program.end()
        cls.running.clear()


def serve(*flags):
    """Our echo server and its address."""
    server = Program(OURS, "serve", *flags)
    return server, server.expect("listening ")
