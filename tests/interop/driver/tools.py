"""The foreign tools the peers need: found, installed from Debian packages as root, or named as missing."""

import hashlib
import os
import shutil
import subprocess

PACKAGES = {"javac": "default-jdk-headless", "mvn": "maven", "go": "golang-go"}


class Missing(Exception):
    """A tool is not there and could not be installed."""


def require(*names):
    """Returns when all tools can be run; installs packages only as root, and only those of missing tools."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install([PACKAGES[name] for name in missing])
        missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise Missing(f"needs {', '.join(missing)} (Debian: apt-get install {packages})")


def install(packages):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "-y", "install", "--no-install-recommends", *packages]):
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def maven_dependencies(pom, into, defines=(), exclude=()):
    """Copies the runtime dependencies of a pom into a directory, once: a finished copy of the same pom is left as it is."""
    done = into / ".complete"
    made_of = hashlib.sha256(repr((pom.read_bytes(), defines, exclude)).encode()).hexdigest()
    if done.exists() and done.read_text() == made_of:
        return
    if into.exists():
        shutil.rmtree(into)
    command = ["mvn", "-q", "-B", "-f", str(pom), *defines, "dependency:copy-dependencies",
               f"-DoutputDirectory={into}", "-DincludeScope=runtime"]
    if exclude:
        command.append("-DexcludeArtifactIds=" + ",".join(exclude))
    outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if outcome.returncode != 0:
        raise Missing(f"Maven could not resolve {pom}: {outcome.stdout[-1500:]}")
    done.write_text(made_of)
