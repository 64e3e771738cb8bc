"""One sample: a coordinator under load, with what it and its database did for it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import java_tables
from driver.coordinator import Java142, Java200, Ours

JAVA = {"java-1.4.2": Java142, "java-2.0.0": Java200}
TABLES = ("lock_table", "branch_table", "global_table")
# What the database counts: statements, commits that wrote something, syncs of any file.
COUNTED = ("questions", "trx_rw_commits", "innodb_data_fsyncs")


class Database:
    """The server, with its counters and its CPU time."""

    def __init__(self, server):
        self.server = server
        self.schema = server.schema("looking_on")
        self.schema.run("SET GLOBAL innodb_monitor_enable = 'trx_rw_commits';")

    def version(self):
        return self.schema.run("SELECT version();")[0][0]

    def counts(self):
        rows = self.schema.run("SHOW GLOBAL STATUS WHERE variable_name IN ('Questions', 'Innodb_data_fsyncs');"
                               "SELECT name, count FROM information_schema.innodb_metrics WHERE name = 'trx_rw_commits';")
        return {name.lower(): int(value) for name, value in rows}

    def cpu_seconds(self):
        return cpu_seconds(self.server.process.pid)


class Peer:
    """A coordinator that only runs while it is measured."""

    def __init__(self, name, directory, server, database, options):
        self.name = name
        self.database = database
        self.options = options
        schema_name = name.replace("-", "_").replace(".", "_")
        if name in JAVA:
            self.schema = server.schema(schema_name, java_tables.tables(JAVA[name].version))
            self.coordinator = JAVA[name](directory, database=self.schema)
        else:
            self.schema = server.schema(schema_name)
            environment = dict(key.split("=", 1) for key in options.ours_key)
            self.coordinator = Ours(directory, options.binary, self.schema.url(), environment=environment)

    def start(self):
        self.coordinator.prepare()
        self.coordinator.wipe()
        if self.name not in JAVA:
            self.coordinator.apply_schema()
        self.coordinator.start()
        time.sleep(2)
        self.pause()

    def pause(self):
        self.coordinator.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.coordinator.process.send_signal(signal.SIGCONT)
        # Ours holds a lease, which it has to renew first.
        time.sleep(1.5)

    def stop(self):
        if self.coordinator.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.coordinator.process.send_signal(signal.SIGCONT)
            self.coordinator.kill()

    def warm(self, scenario):
        seconds = self.options.warm_java if self.name in JAVA else min(2, self.options.warm_java)
        self.resume()
        if seconds > 0:
            # With more clients 1.4.2 may hang for half a minute.
            self.load(scenario, 16, seconds)
        self.pause()
        self.clear()

    def load(self, scenario, clients, seconds):
        command = [str(self.options.binary), "bench", "--target", f"127.0.0.1:{self.coordinator.port}", "--scenario", scenario,
                   "--clients", str(clients), "--connections", str(self.options.connections), "--duration", str(seconds),
                   "--warmup", "0", "--json", "--quiet"]
        outcome = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        try:
            report = json.loads(outcome.stdout)
        except json.JSONDecodeError:
            sys.exit(f"{self.name} {scenario}: the generator ended with {outcome.returncode} and no report")
        if outcome.returncode != 0:
            print(f"# {self.name} {scenario} {clients}: check failed: {report.get('phase_two')} {report.get('errors')}", file=sys.stderr)
        return report

    def sample(self, scenario, clients):
        self.resume()
        began, busy = time.monotonic(), busy_seconds()
        own, base, counts = self.coordinator.cpu_seconds(), self.database.cpu_seconds(), self.database.counts()
        try:
            report = self.load(scenario, clients, self.options.duration)
            time.sleep(self.options.settle)
        finally:
            own, base = self.coordinator.cpu_seconds() - own, self.database.cpu_seconds() - base
            after = self.database.counts()
            self.pause()
        took = time.monotonic() - began
        done = report["transactions"]
        generator = report.get("own_cpu_s") or 0
        others = max(busy_seconds() - busy - own - base - generator, 0)
        total = report.get("total", {})
        each = {name: round((after[name] - counts[name]) / done, 2) if done else None for name in COUNTED}
        left = self.schema.count("global_table", "status NOT IN (9, 11, 13)")
        self.clear()
        return {
            "transactions": done, "per_second": round(report["per_second"], 1), "p50_ms": total.get("p50_ms"), "p99_ms": total.get("p99_ms"),
            "statements_per_tx": each["questions"], "commits_per_tx": each["trx_rw_commits"], "syncs_per_tx": each["innodb_data_fsyncs"],
            "coordinator_cpu_us": per_transaction(own, done), "database_cpu_us": per_transaction(base, done),
            "generator_cpu_us": per_transaction(generator, done), "left": left, "failed": report["failed"], "passed": report["passed"],
            "others_cores": round(others / took, 2),
        }

    def clear(self):
        """Takes a Java coordinator's unfinished transactions away: it would go on with them in the next sample. Ours keeps its own."""
        if self.name in JAVA:
            self.schema.run("".join(f"DELETE FROM {table};" for table in TABLES))


def per_transaction(seconds, done):
    return round(seconds * 1e6 / done, 1) if done else None


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """CPU time of everything on the machine so far."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupts, soft = map(int, file.readline().split()[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
