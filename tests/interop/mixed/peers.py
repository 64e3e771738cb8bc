"""Processes of applications that take part in global transactions: ours, Java and Go. All obey the same lines.

An order is a line of fields separated by tabs; its answer is a line `re`, then `ok` and values, or `error`, a kind
(`conflict`, `transaction`, `other`) and a text. A line `call` tells of a phase of a TCC action: phase, xid, branch, item, quantity.
"""

import subprocess
import time

from driver import go_client, places
from driver.java_client import JavaBuild, configure, small_jvm
from driver.orders import Broken, Process, Refused

HOME = places.INTEROP / "mixed"
# Every machine of these tests keeps its dates in this zone, so that a mistake with zones cannot hide. Connector/J takes it for
# that of the database's sessions too, which therefore have to have it.
ZONE = "Asia/Shanghai"
SESSION = "sessionVariables=time_zone%3D%27%2B08%3A00%27"


class Peer(Process):
    """A running peer."""

    def phases(self, xid):
        """The phases of TCC actions told so far for this transaction: (phase, item, quantity)."""
        with self.heard:
            return [(phase, item, quantity) for phase, of, _branch, item, quantity in self.calls if of == xid]

    def await_phases(self, xid, count, seconds_max=30):
        end = time.monotonic() + seconds_max
        with self.heard:
            while sum(1 for call in self.calls if call[1] == xid) < count and time.monotonic() < end:
                self.heard.wait(end - time.monotonic())
        return self.phases(xid)


class Kind:
    """A kind of peer in one scene, started when first asked and again after it was killed."""

    modes = {"tcc", "at"}

    def __init__(self):
        self.running = None
        self.starts = 0

    def start(self, scene):
        """Starts a process, which connects and offers its action and all databases of the scene."""
        self.starts += 1
        process = Peer(self.command(scene, scene.directory / f"{self.name}-{self.starts}"), scene.directory / f"{self.name}.log",
                          scene.directory)
        try:
            process.order("start", self.application)
            if "tcc" in self.modes:
                process.order("action")
            for database in scene.databases.values() if "at" in self.modes else ():
                resource = self.open(process, database)
                if resource != database.resource_id():
                    raise RuntimeError(f"{self.name} calls {database.resource_id()} {resource}")
        except (Refused, Broken, RuntimeError):
            process.kill()
            raise
        self.running = process

    def in_scene(self, scene):
        if self.running is None or not self.running.alive():
            self.start(scene)
        return self.running

    def kill(self):
        if self.running:
            self.running.kill()


# The drivers and libraries of a release's own time.
JAVA_LIBRARIES = {
    "1": ["-Dmysql.version=5.1.49", "-Djackson.version=2.9.9"],
    "2": ["-Dmysql.version=8.0.33", "-Djackson.version=2.13.5"],
}


class Java(Kind):
    def __init__(self, version, application="mixed-java"):
        super().__init__()
        self.version = version
        self.name = f"java-{version}"
        self.application = application
        generation = version.split(".", 1)[0]
        self.old = generation == "1"
        self.package = "io.seata" if version.startswith(("1.", "2.0")) else "org.apache.seata"
        sources = [HOME / "java" / "src" / "mixed", HOME / "java" / generation / "mixed"]
        self.made = JavaBuild(version, places.WORK / "mixed" / self.name, HOME / "java" / "pom.xml", sources, JAVA_LIBRARIES[generation])

    def build(self):
        self.made.build()

    def command(self, scene, directory):
        conf = directory / "conf"
        configure(conf, scene.coordinator.port, more="client { rm { lock { retryInterval = 10\n retryTimes = 5 } } }\n")
        return ["java", *small_jvm(directory), f"-Duser.timezone={ZONE}", "-cp", self.made.classpath(conf), "mixed.Peer"]

    def open(self, process, database):
        properties = ""
        if database.kind == "mariadb":
            properties = f"?useSSL=false&useUnicode=true&characterEncoding=UTF-8&{SESSION}"
            properties += "" if self.old else "&allowPublicKeyRetrieval=true"
        return process.order("database", database.kind, database.resource_id(), properties, database.user, database.password)


class Go(Kind):
    modes = {"tcc"}

    def __init__(self, version):
        super().__init__()
        self.version = version
        self.name = f"go-{version}"
        self.application = "mixed-go"
        self.binary = places.WORK / self.name / "mixed"

    def build(self):
        go_client.build(self.version, "./mixed", self.binary)

    def command(self, scene, directory):
        config = directory / "seatago.yml"
        go_client.configure(config, scene.coordinator.port, self.application)
        return ["env", f"INTEROP_CONFIG={config}", str(self.binary)]


class Ours(Kind):
    """The example `mixed_peer`, told which Java packages the other side of its databases understands."""

    name = "ours"
    application = "mixed-ours"

    def __init__(self, binary, package, old):
        super().__init__()
        self.package = package
        self.old = old
        self.built = binary is not None
        self.binary = binary.resolve() if binary else places.TARGET / "debug" / "examples" / "mixed_peer"

    def build(self):
        """With all features, as the tests have built it before."""
        if not self.built:
            subprocess.run(["cargo", "build", "--quiet", "--all-features", "--example", "mixed_peer"], cwd=places.ROOT, check=True)

    def command(self, scene, _directory):
        return [str(self.binary), f"127.0.0.1:{scene.coordinator.port}"]

    def open(self, process, database):
        return process.order("database", database.kind, database.sqlx_url(), database.resource_id(), self.package,
                             "old" if self.old else "new", ZONE)
