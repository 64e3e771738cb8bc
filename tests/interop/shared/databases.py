"""Database servers that belong to one run, so that they may be killed, and the coordinators' tables on them."""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path

from driver import coordinator, places, tools

SECONDS_MAX = 60


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
        return self.schemas(self, name, scripts)


def children(pid):
    """PostgreSQL serves each connection with a process; one that lives on keeps the next server from starting."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text(errors="replace").rsplit(")", 1)[1].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


class Schema:
    """One database. What stands in it is read with the server's own command line client, so that no coordinator judges itself."""

    def __init__(self, server, name, scripts):
        self.address = f"127.0.0.1:{server.port}"
        self.port = server.port
        self.name = ""
        for statement in self.afresh(name):
            self.run(statement)
        self.name = name
        for script in scripts:
            self.run(script)

    def run(self, sql):
        """Runs statements; answers with the rows, each a tuple of texts."""
        done = subprocess.run(self.command(), input=sql, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "MYSQL_PWD": self.password}, timeout=SECONDS_MAX)
        if done.returncode != 0:
            raise RuntimeError(f"{self.kind} refused {sql!r}: {done.stderr.strip()}")
        return [tuple(line.split(self.separator)) for line in done.stdout.splitlines()]

    def count(self, table, condition="1 = 1"):
        return int(self.run(f"SELECT count(*) FROM {table} WHERE {condition};")[0][0])

    def present(self):
        """The names of the tables."""
        return {row[0] for row in self.run(f"SELECT table_name FROM information_schema.tables WHERE table_schema = {self.here};")}


class MariaDbSchema(Schema):
    kind, separator, user, password, here = "mariadb", "\t", "seamio", "seamio", "database()"

    def afresh(self, name):
        return [f"DROP DATABASE IF EXISTS {name};", f"CREATE DATABASE {name} CHARACTER SET utf8mb4;"]

    def command(self):
        return ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{self.port}", f"-u{self.user}", "--batch", "--skip-column-names",
                "--default-character-set=utf8mb4", self.name]

    def url(self):
        return f"mysql://{self.user}:{self.password}@{self.address}/{self.name}"


class PostgresSchema(Schema):
    kind, separator, user, password, here = "postgresql", "|", "seamio", "", "current_schema()"

    def afresh(self, name):
        return [f"DROP DATABASE IF EXISTS {name};", f"CREATE DATABASE {name};"]

    def command(self):
        return ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", self.name or "postgres", "-AtqX", "-v",
                "ON_ERROR_STOP=1"]

    def url(self):
        return f"postgres://{self.user}@{self.address}/{self.name}"


class OwnMariaDb(Own, RUNNER.MariaDb):
    name, schemas = "mariadb-shared", MariaDbSchema


class OwnPostgres(Own, RUNNER.PostgreSql):
    name, schemas = "postgresql-shared", PostgresSchema


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
