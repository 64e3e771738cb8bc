"""The Java clients: a source tree, compiled against one release of seata-all, and the test program made of ours."""

import contextlib
import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

from . import places, tools
from .coordinator import OPEN_MODULES

# The names that moved between the releases of the client, from those of 1.4.2.
RENAMED = {
    "io.seata": [],
    "org.apache.seata": [(r"\bio\.seata\.", "org.apache.seata."), (r"\bProtocolV1Encoder\b", "ProtocolEncoderV1")],
}


def small_jvm(home):
    """The options of a virtual machine that starts fast and stays small, with a home directory of its own."""
    return ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", *OPEN_MODULES,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", f"-Duser.home={home}"]


def configure(conf, *ports, more=""):
    """The two files a client looks for: the coordinators, everything else as delivered but for `more`."""
    conf.mkdir(parents=True)
    addresses = ";".join(f"127.0.0.1:{port}" for port in ports)
    (conf / "registry.conf").write_text('registry { type = "file" }\nconfig { type = "file"\n file { name = "file.conf" } }\n')
    (conf / "file.conf").write_text(
        f'service {{\n vgroupMapping.interop_group = "default"\n default.grouplist = "{addresses}"\n}}\n{more}')


class JavaBuild:
    """Sources written with the names of 1.4.2, compiled against one release of the client."""

    def __init__(self, version, work, pom, sources, defines=()):
        self.version = version
        numbers = [int(part) for part in version.split(".")[:2]]
        self.group = "io.seata" if numbers < [2, 1] else "org.apache.seata"
        self.slf4j = "1.7.36" if numbers < [2, 1] else "2.0.17"
        self.work = work
        self.pom = pom
        self.directories = sources
        self.defines = list(defines)
        self.classes = None

    def build(self):
        """Resolves the release and compiles the sources against it."""
        tools.require("javac", "mvn")
        defines = [f"-Dseata.group={self.group}", f"-Dseata.version={self.version}", f"-Dslf4j.version={self.slf4j}", *self.defines]
        tools.maven_dependencies(self.pom, self.work / "lib", defines)
        sources = self.sources()
        digest = hashlib.sha256(repr(sources).encode()).hexdigest()[:16]
        self.classes = self.work / f"classes-{digest}"
        if not self.classes.exists():
            self.compile(sources)

    def sources(self):
        """Names and texts of the program, with the names this release uses."""
        found = []
        for file in sorted(file for directory in self.directories for file in directory.glob("*.java")):
            text = file.read_text(encoding="utf-8")
            for pattern, name in RENAMED[self.group]:
                text = re.sub(pattern, name, text)
            found.append((file.name, text))
        return found

    def compile(self, sources):
        """Compiles aside and moves into place, so that a run that is under way keeps its classes."""
        with tempfile.TemporaryDirectory(dir=self.work) as directory:
            aside = Path(directory)
            for name, text in sources:
                (aside / name).write_text(text, encoding="utf-8")
            classes = aside / "classes"
            subprocess.run(["javac", "--release", "11", "-encoding", "UTF-8", "-nowarn", "-proc:none", "-d", str(classes),
                            "-cp", f"{self.work}/lib/*", *sorted(str(path) for path in aside.glob("*.java"))], check=True)
            with contextlib.suppress(OSError):
                classes.rename(self.classes)

    def classpath(self, conf):
        return f"{conf}:{self.classes}:{self.work}/lib/*"


class JavaClient:
    """A build of tests/interop/java for one version of the client."""

    def __init__(self, version):
        self.version = version
        self.name = f"java-{version}"
        home = places.INTEROP / "java"
        self.made = JavaBuild(version, places.WORK / self.name, home / "pom.xml", [home / "src" / "interop"])

    def build(self):
        self.made.build()

    def command(self, run_directory, port, only):
        """The test program, its configuration pointing at the coordinator's port and otherwise as delivered."""
        conf = run_directory / "conf"
        configure(conf, port)
        jvm = small_jvm(run_directory)
        return ["java", *jvm, f"-Dinterop.jvm={' '.join(jvm)}", f"-Dinterop.logs={run_directory}", f"-Dinterop.port={port}",
                f"-Dinterop.version={self.version}", f"-Dinterop.only={only}", "-cp", self.made.classpath(conf), "interop.Suite"]
