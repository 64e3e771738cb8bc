"""A database of a MariaDB, MySQL or PostgreSQL server, looked at with the server's own command line client, so that no coordinator
judges itself."""

import os
import shutil
import subprocess
from urllib.parse import urlsplit

from . import tools

SECONDS_MAX = 60


def afresh(url, name, *scripts):
    """An empty database of this name on the server of the URL, with what the scripts make in it."""
    kind = MariaDbSchema if urlsplit(url).scheme in ("mysql", "mariadb") else PostgresSchema
    return kind(urlsplit(url), name, scripts)


class Schema:
    """One database."""

    def __init__(self, url, name, scripts):
        if shutil.which(self.client) is None:
            raise tools.Missing(f"no {self.client} to look at {self.kind} with")
        self.host, self.port = url.hostname, url.port
        self.address = f"{url.hostname}:{url.port}"
        self.user, self.password = url.username, url.password or ""
        self.name = ""
        for statement in (f"DROP DATABASE IF EXISTS {name};", f"CREATE DATABASE {name}{self.characters};"):
            self.run(statement)
        self.name = name
        for script in scripts:
            self.run(script)

    def run(self, sql):
        """Runs statements; answers with the rows, each a tuple of texts."""
        done = subprocess.run(self.command(), input=sql, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, self.secret: self.password}, timeout=SECONDS_MAX)
        if done.returncode != 0:
            raise RuntimeError(f"{self.kind} refused {sql!r}: {done.stderr.strip()}")
        return [tuple(line.split(self.separator)) for line in done.stdout.splitlines()]

    def count(self, table, condition="1 = 1"):
        return int(self.run(f"SELECT count(*) FROM {table} WHERE {condition};")[0][0])

    def present(self):
        """The names of the tables."""
        return {row[0] for row in self.run(f"SELECT table_name FROM information_schema.tables WHERE table_schema = {self.here};")}

    def url(self):
        password = f":{self.password}" if self.password else ""
        return f"{self.scheme}://{self.user}{password}@{self.address}/{self.name}"


class MariaDbSchema(Schema):
    kind, client, scheme, secret, separator = "mariadb", "mariadb", "mysql", "MYSQL_PWD", "\t"
    here, characters = "database()", " CHARACTER SET utf8mb4"

    def command(self):
        return ["mariadb", "--no-defaults", f"-h{self.host}", f"-P{self.port}", f"-u{self.user}", "--batch", "--skip-column-names",
                "--default-character-set=utf8mb4", self.name]


class PostgresSchema(Schema):
    kind, client, scheme, secret, separator = "postgresql", "psql", "postgres", "PGPASSWORD", "|"
    here, characters = "current_schema()", ""

    def command(self):
        return ["psql", "-h", self.host, "-p", str(self.port), "-U", self.user, "-d", self.name or "postgres", "-AtqX", "-v",
                "ON_ERROR_STOP=1"]
