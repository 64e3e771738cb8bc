"""Database servers that belong to one run, so that they may be killed, and the coordinators' tables on them."""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path

from driver import coordinator, places, schemas, tools


def load_runner():
    """tests/databases/run knows how to install and start the servers."""
    path = str(places.ROOT / "tests" / "databases" / "run")
    loader = importlib.machinery.SourceFileLoader("databases_run", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("databases_run", loader))
    loader.exec_module(module)
    return module


RUNNER = load_runner()


class Own:
    """Starts a server on a directory and a port of its own, and again on the same ones after it was killed."""

    def open(self):
        try:
            self.prepare()
        except RUNNER.Missing as missing:
            raise tools.Missing(str(missing)) from None
        self.port = coordinator.free_port()
        self.start()
        self.create(self.port)

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([*RUNNER.become(self.user), *self.command(self.port)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, cwd=self.directory)
        try:
            self.wait(self.port, self.process)
        except SystemExit as problem:
            raise RuntimeError(str(problem)) from None
        self.state_file.write_text(json.dumps({"pid": self.process.pid, "url": self.url(self.port)}))

    def kill(self):
        """kill -9 of the server and of every process of it."""
        for pid in [self.process.pid, *children(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        """Stops it and removes its data."""
        self.down()

    def schema(self, name, *scripts):
        """An empty database with what the scripts make in it."""
        return schemas.afresh(self.url(self.port), name, *scripts)


def children(pid):
    """PostgreSQL serves each connection with a process; one that lives on keeps the next server from starting."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text(errors="replace").rsplit(")", 1)[1].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


class OwnMariaDb(Own, RUNNER.MariaDb):
    name = "mariadb-shared"


class OwnPostgres(Own, RUNNER.PostgreSql):
    name = "postgresql-shared"


KINDS = {"mariadb": OwnMariaDb, "postgresql": OwnPostgres}


def opened(kind, suffix=""):
    """A running server of this kind; with a suffix, another one than that of a run without."""
    made = type(f"Own{kind}", (KINDS[kind],), {"name": KINDS[kind].name + suffix})
    try:
        server = made()
    except RUNNER.Missing as missing:
        raise tools.Missing(str(missing)) from None
    server.open()
    return server
