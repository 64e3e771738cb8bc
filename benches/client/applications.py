"""Applications with a client inside, and one sample of what they do. All obey the same lines, see tests/interop/driver/orders.py."""

import json
import sys
import time

import peers
from driver import places
from driver.coordinator import OPEN_MODULES
from driver.java_client import JavaBuild, configure
from driver.orders import Process
from sample import busy_seconds, cpu_seconds, per_transaction

HOME = places.ROOT / "benches" / "client"
WARM_PIECE_SECONDS = 15
# As the Java clients' documentation has it.
UNDO_LOG = """
CREATE TABLE undo_log (branch_id BIGINT NOT NULL, xid VARCHAR(128) NOT NULL, context VARCHAR(128) NOT NULL,
 rollback_info LONGBLOB NOT NULL, log_status INT NOT NULL, log_created DATETIME(6) NOT NULL, log_modified DATETIME(6) NOT NULL,
 UNIQUE KEY ux_undo_log (xid, branch_id), KEY ix_log_created (log_created));
"""


class Ours:
    """The example `bench_client`."""

    is_java = False

    def __init__(self, binary):
        self.binary = binary

    def build(self):
        """It is there."""

    def command(self, _directory, port):
        return [str(self.binary), f"127.0.0.1:{port}"]

    def database(self, schema, connections):
        return (schema.url(), f"jdbc:mysql://{schema.address}/{schema.name}", str(connections))


class Java:
    """A release of seata-all, its settings and those of the virtual machine as delivered, with 512 MiB of heap at most."""

    is_java = True

    def __init__(self, version):
        generation = version.split(".", 1)[0]
        self.old = generation == "1"
        sources = [places.INTEROP / "mixed" / "java" / "src" / "mixed", places.INTEROP / "mixed" / "java" / generation / "mixed", HOME / "java"]
        self.made = JavaBuild(version, places.TARGET / "client_bench" / f"java-{version}", HOME / "java" / "pom.xml", sources,
                              peers.JAVA_LIBRARIES[generation])

    def build(self):
        self.made.build()

    def command(self, directory, port):
        conf = directory / "conf"
        configure(conf, port)
        return ["java", "-Xmx512m", "-Dfile.encoding=UTF-8", *OPEN_MODULES, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                f"-Duser.home={directory}", "-cp", self.made.classpath(conf), "mixed.Load"]

    def database(self, schema, connections):
        more = "useSSL=false&characterEncoding=UTF-8" + ("" if self.old else "&allowPublicKeyRetrieval=true")
        url = f"jdbc:mysql://{schema.address}/{schema.name}?{more}"
        return (url, schema.user, schema.password, str(connections))


class Application:
    """A running application, with a database of its own on the server."""

    def __init__(self, name, kind, directory, coordinator, server, connections):
        self.name, self.kind, self.directory, self.coordinator, self.server = name, kind, directory, coordinator, server
        self.connections = connections
        rows = ", ".join(f"({row}, 0)" for row in range(connections))
        self.schema = server.schema(f"client_{name}".replace("-", "_").replace(".", "_"), UNDO_LOG,
                                    f"CREATE TABLE stock (id BIGINT PRIMARY KEY, qty BIGINT NOT NULL); INSERT INTO stock VALUES {rows};")
        self.process = None

    @property
    def is_java(self):
        return self.kind.is_java

    def start(self):
        self.kind.build()
        self.directory.mkdir(parents=True)
        command = self.kind.command(self.directory, self.coordinator.port)
        self.process = Process(command, self.directory / "out.log", self.directory)
        self.process.order("start", f"bench-{self.name.replace('.', '-')}")
        self.process.order("database", *self.kind.database(self.schema, self.connections))

    def stop(self):
        if self.process is not None:
            self.process.kill()

    def warm(self, scenario, seconds):
        """In pieces, none longer than an order may take."""
        while seconds > 0:
            self.load(scenario, 16, min(seconds, WARM_PIECE_SECONDS))
            seconds -= WARM_PIECE_SECONDS

    def load(self, scenario, clients, seconds):
        return json.loads(self.process.order("run", scenario, str(clients), str(seconds)))

    def cpu_seconds(self):
        pids = (self.process.process.pid, self.coordinator.process.pid, self.server.process.pid)
        return [cpu_seconds(pid) for pid in pids]

    def memory_mib(self):
        with open(f"/proc/{self.process.process.pid}/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:")), None)

    def sample(self, scenario, clients, options):
        began, busy, before = time.monotonic(), busy_seconds(), self.cpu_seconds()
        report = self.load(scenario, clients, options.duration)
        time.sleep(options.settle)
        client, coordinator, database = (now - then for now, then in zip(self.cpu_seconds(), before))
        others = max(busy_seconds() - busy - client - coordinator - database, 0) / (time.monotonic() - began)
        if report["failed"]:
            print(f"# {self.name} {scenario} {clients}: {report['failed']} failed, one with: {report['complaint']}", file=sys.stderr)
        done = report["transactions"]
        return {
            "transactions": done, "failed": report["failed"], "per_second": round(done / report["seconds"], 1),
            "p50_ms": report["p50_us"] / 1000, "p99_ms": report["p99_us"] / 1000,
            "client_cpu_us": per_transaction(client, done), "memory_mib": round(self.memory_mib(), 1),
            "coordinator_cpu_us": per_transaction(coordinator, done), "database_cpu_us": per_transaction(database, done),
            "left": self.schema.count("undo_log"), "others_cores": round(others, 2),
        }
