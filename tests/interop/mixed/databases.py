"""The databases of the AT scenarios: schemas of our own on the servers of tests/databases/run, looked at with their own clients."""

import os
import shutil
import subprocess
from urllib.parse import urlsplit

from driver import places, tools

SCRIPT = places.ROOT / "tests" / "databases" / "run"
SECONDS_MAX = 60


class Servers:
    """Where the database servers are: from the environment, or started for this run and stopped after it."""

    def __init__(self):
        self.started = False
        self.urls = {}

    def up(self):
        wanted = {"mariadb": "SEAMIO_MYSQL_URL", "postgres": "SEAMIO_POSTGRES_URL"}
        known = dict(os.environ)
        if not any(name in known for name in wanted.values()):
            known = self.ask("env")
            if not known:
                known = self.ask("up")
                self.started = True
        self.urls = {kind: known[name] for kind, name in wanted.items() if known.get(name)}

    def down(self):
        if self.started:
            subprocess.run([SCRIPT, "down"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=300, check=False)

    def database(self, kind, name):
        """An empty schema with an undo table on the server of this kind."""
        if kind not in self.urls:
            raise tools.Missing(f"no {kind} server (tests/databases/run up says why)")
        return {"mariadb": MariaDb, "postgres": Postgres}[kind](urlsplit(self.urls[kind]), name)

    @staticmethod
    def ask(word):
        answer = subprocess.run([SCRIPT, word], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=600, check=True)
        return dict(line.split("=", 1) for line in answer.stdout.splitlines() if line.startswith("SEAMIO_") and "=" in line)


class Database:
    """One schema. Statements go through the server's command line client, so that no peer judges itself."""

    def __init__(self, url, name):
        self.url = url
        self.name = name
        self.address = f"{url.hostname}:{url.port}"
        self.user = url.username
        self.password = url.password or ""
        if shutil.which(self.client) is None:
            raise tools.Missing(f"no {self.client} to look at {self.kind} with")

    def run(self, sql):
        """Runs statements; answers with the rows as the client prints them."""
        done = subprocess.run(self.command(self.name), input=sql, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, **self.secrets()}, timeout=SECONDS_MAX)
        if done.returncode != 0:
            raise RuntimeError(f"{self.kind} refused {sql!r}: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def undo_rows(self, xid):
        return int(self.run(f"SELECT count(*) FROM undo_log WHERE xid = '{xid}';"))

    def rows(self, *tables):
        """Everything in these tables, as text."""
        return self.run("".join(f"SELECT * FROM {table} ORDER BY 1;" for table in tables))


class MariaDb(Database):
    kind = "mariadb"
    client = "mariadb"

    def command(self, name):
        return ["mariadb", "--no-defaults", f"-h{self.url.hostname}", f"-P{self.url.port}", f"-u{self.user}", "--batch",
                "--skip-column-names", "--binary-as-hex", "--default-character-set=utf8mb4", name]

    def secrets(self):
        return {"MYSQL_PWD": self.password}

    def create(self, tables):
        there, self.name = self.name, ""
        self.run(f"DROP DATABASE IF EXISTS {there}; CREATE DATABASE {there} CHARACTER SET utf8mb4;")
        self.name = there
        self.run(UNDO_MARIADB + tables)

    def resource_id(self):
        return f"jdbc:mysql://{self.address}/{self.name}"

    def sqlx_url(self):
        return f"mysql://{self.user}:{self.password}@{self.address}/{self.name}"


class Postgres(Database):
    kind = "postgres"
    client = "psql"

    def command(self, name):
        return ["psql", "-h", self.url.hostname, "-p", str(self.url.port), "-U", self.user, "-d", name or "postgres", "-AtqX",
                "-v", "ON_ERROR_STOP=1"]

    def secrets(self):
        return {"PGPASSWORD": self.password}

    def create(self, tables):
        there, self.name = self.name, ""
        self.run(f"DROP DATABASE IF EXISTS {there};")
        self.run(f"CREATE DATABASE {there};")
        self.name = there
        self.run(UNDO_POSTGRES + tables)

    def resource_id(self):
        return f"jdbc:postgresql://{self.address}/{self.name}"

    def sqlx_url(self):
        password = f":{self.password}" if self.password else ""
        return f"postgres://{self.user}{password}@{self.address}/{self.name}"


UNDO_MARIADB = """
CREATE TABLE undo_log (branch_id BIGINT NOT NULL, xid VARCHAR(128) NOT NULL, context VARCHAR(128) NOT NULL,
 rollback_info LONGBLOB NOT NULL, log_status INT NOT NULL, log_created DATETIME(6) NOT NULL, log_modified DATETIME(6) NOT NULL,
 UNIQUE KEY ux_undo_log (xid, branch_id), KEY ix_log_created (log_created));
"""

UNDO_POSTGRES = """
CREATE TABLE undo_log (id SERIAL NOT NULL, branch_id BIGINT NOT NULL, xid VARCHAR(128) NOT NULL, context VARCHAR(128) NOT NULL,
 rollback_info BYTEA NOT NULL, log_status INT NOT NULL, log_created TIMESTAMP(0) NOT NULL, log_modified TIMESTAMP(0) NOT NULL,
 CONSTRAINT pk_undo_log PRIMARY KEY (id), CONSTRAINT ux_undo_log UNIQUE (xid, branch_id));
CREATE INDEX ix_log_created ON undo_log (log_created);
"""
