"""Coordinators under test: ours and the published Java ones, started, killed and started again on the same store."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time

from . import places, schemas, tools

OPEN_MODULES = ["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED"]
SCHEMA_SECONDS_MAX = 120


def free_port():
    """A port nobody has now, and that the system gives to nobody by itself: so it is still free when it is asked for, and again
    between a kill and the next start."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            end = int(file.read().split()[0])
    except OSError:
        end = 32768
    begin = 10000 if end > 20000 else 1024
    for port in random.sample(range(begin, end), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port from {begin} to {end}")


def accepts(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Coordinator:
    """One coordinator process on 127.0.0.1. Subclasses give the command; the store lives in `directory`."""

    name = ""
    start_seconds_max = 120

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.process = None
        self.start_seconds = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def prepare(self):
        """Fetches or checks what the command needs."""

    def wipe(self):
        """Forgets the store of an earlier run."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)

    def start(self):
        """Starts on whatever the store holds; returns when connections are accepted."""
        log = open(self.directory / "out.log", "ab")
        began = time.monotonic()
        self.process = subprocess.Popen(self.command(), cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=subprocess.STDOUT)
        log.close()
        while not accepts(self.port):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
            if time.monotonic() - began > self.start_seconds_max:
                self.kill()
                raise RuntimeError(f"{self.name} does not accept connections: {self.last_words()}")
            time.sleep(0.005)
        self.start_seconds = time.monotonic() - began

    def kill(self):
        """kill -9."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, seconds_max=30):
        """SIGTERM, and after a while SIGKILL; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds_max)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def cpu_seconds(self):
        """CPU time the process has used so far, user and system."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self):
        """Resident memory now and at its highest."""
        now = peak = 0
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    now = int(line.split()[1]) * 1024
                if line.startswith("VmHWM:"):
                    peak = int(line.split()[1]) * 1024
        return now, peak

    def last_words(self):
        try:
            return (self.directory / "out.log").read_text(errors="replace")[-1500:]
        except OSError:
            return ""


class Ours(Coordinator):
    """`seamio serve` with its journal, or another store: a word it knows, or the URL of a database."""

    name = "ours"

    def __init__(self, directory, binary, store="journal", workers=None, extra=(), environment=None):
        super().__init__(directory)
        self.binary = binary
        self.store = store
        self.workers = workers
        self.extra = list(extra)
        self.more_environment = environment or {}

    def prepare(self):
        if not os.access(self.binary, os.X_OK):
            raise tools.Missing(f"{self.binary} is not there: cargo build")

    def apply_schema(self):
        """Its tables, as an operator makes them, in the database that is its store."""
        done = subprocess.run([str(self.binary), "schema", "apply", self.store], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=SCHEMA_SECONDS_MAX)
        if done.returncode != 0:
            raise RuntimeError(f"seamio schema apply ended with {done.returncode}: {done.stdout.strip()}")

    def command(self):
        command = [str(self.binary), "serve", "--host", "127.0.0.1", "--port", str(self.port),
                   "--advertise", f"127.0.0.1:{self.port}", "--store", self.store, "--data", str(self.directory / "data")]
        if self.workers is not None:
            command += ["--workers", str(self.workers)]
        return command + self.extra

    def environment(self):
        return {**os.environ, **self.more_environment}


class OursOnDatabase(Ours):
    """`seamio serve` on a database of its own, on the server of this URL."""

    def __init__(self, directory, binary, server_url, database, workers=None):
        super().__init__(directory, binary, server_url, workers)
        self.server_url = server_url
        self.database = database

    def wipe(self):
        super().wipe()
        self.store = schemas.afresh(self.server_url, self.database).url()
        self.apply_schema()


class Java142(Coordinator):
    """Seata 1.4.2 in file mode, or in db mode on the tables of `database`, its own defaults otherwise; WARN only, as its INFO
    lines cost it a good part of its time."""

    name = "java-1.4.2"
    # Spring Boot takes its time where much else runs.
    start_seconds_max = 300
    version = "1.4.2"
    exclude = ()

    def __init__(self, directory, jvm=(), database=None):
        super().__init__(directory)
        self.jvm = list(jvm)
        self.database = database
        self.mode = "db" if database else "file"
        self.libraries = places.WORK / f"coordinator-{self.version}"

    def prepare(self):
        tools.require("javac", "mvn")
        pom = places.INTEROP / "java" / "coordinator" / self.version / "pom.xml"
        tools.maven_dependencies(pom, self.libraries, exclude=self.exclude)

    def wipe(self):
        super().wipe()
        conf = self.directory / "conf"
        conf.mkdir()
        (conf / "quiet.xml").write_text(QUIET)
        self.configure(conf)

    def configure(self, conf):
        (conf / "registry.conf").write_text('registry { type = "file" }\nconfig { type = "file"\n file { name = "file.conf" } }\n')
        if self.database is None:
            (conf / "file.conf").write_text('store {\n mode = "file"\n file { dir = "sessionStore" }\n}\n')
            return
        (conf / "file.conf").write_text(f"""store {{
 mode = "db"
 db {{ datasource = "druid", dbType = "mysql", driverClassName = "com.mysql.cj.jdbc.Driver", url = "{self.jdbc_url()}"
  user = "{self.database.user}", password = "{self.database.password}", minConn = 5, maxConn = 30, queryLimit = 100, maxWait = 5000
  globalTable = "global_table", branchTable = "branch_table", lockTable = "lock_table" }}
}}
""")

    def jdbc_url(self):
        return (f"jdbc:mysql://{self.database.address}/{self.database.name}?rewriteBatchedStatements=true&useSSL=false"
                "&allowPublicKeyRetrieval=true&characterEncoding=utf8")

    def java(self, *options):
        return ["java", *self.jvm, *OPEN_MODULES, f"-Duser.home={self.directory}", f"-Dlog.home={self.directory}/logs", *options]

    def command(self):
        conf = self.directory / "conf"
        return self.java(f"-Dlogback.configurationFile={conf}/quiet.xml", "-cp", f"{conf}:{self.libraries}/*",
                         "io.seata.server.Server", "-h", "127.0.0.1", "-p", str(self.port), "-m", self.mode)


class Java200(Java142):
    """Seata 2.0.0, a Spring Boot application with an HTTP port beside the service port."""

    name = "java-2.0.0"
    version = "2.0.0"
    exclude = ("servlet-api", "javax.servlet-api", "log4j-to-slf4j", "slf4j-log4j12", "slf4j-reload4j", "log4j")

    def configure(self, conf):
        http = free_port()
        store = "mode: file\n    file: { dir: sessionStore }" if self.database is None else f"""mode: db
    db: {{ datasource: druid, db-type: mysql, driver-class-name: com.mysql.cj.jdbc.Driver, url: "{self.jdbc_url()}",
      user: {self.database.user}, password: {self.database.password}, min-conn: 5, max-conn: 30, query-limit: 1000, max-wait: 5000,
      global-table: global_table, branch-table: branch_table, lock-table: lock_table, distributed-lock-table: distributed_lock }}"""
        (conf / "application.yml").write_text(f"""
server: {{ port: {http} }}
spring: {{ application: {{ name: seata-server }} }}
logging:
  config: file:{conf}/quiet.xml
  file: {{ path: {self.directory}/logs }}
console: {{ user: {{ username: seata, password: seata }} }}
seata:
  config: {{ type: file }}
  registry: {{ type: file }}
  server: {{ service-port: {self.port} }}
  store:
    {store}
  security:
    secretKey: only-for-the-console-of-a-test
    tokenValidityInMilliseconds: 1800000
    ignore: {{ urls: "/,/health,/error" }}
""")

    def command(self):
        conf = self.directory / "conf"
        return self.java(f"-Dspring.config.location=file:{conf}/application.yml", "-cp", f"{conf}:{self.libraries}/*",
                         "io.seata.server.ServerApplication", "-h", "127.0.0.1", "-p", str(self.port), "-m", self.mode)


QUIET = """<configuration>
  <appender name="C" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level [%thread] %logger{30} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="C"/></root>
</configuration>
"""
