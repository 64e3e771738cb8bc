"""The Go clients: a small module pinned to one release of seata-go, with a program in each of its packages."""

import subprocess

from . import places, tools


def build(version, package, binary):
    """Builds one program of the module."""
    tools.require("go")
    binary.parent.mkdir(parents=True, exist_ok=True)
    home = places.INTEROP / "go"
    if f"seata-go v{version}\n" not in (home / "go.mod").read_text(encoding="utf-8"):
        raise tools.Missing(f"go.mod pins another release of seata-go than {version}")
    fetched = subprocess.run(["go", "mod", "download"], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if fetched.returncode != 0:
        raise tools.Missing(f"Go could not fetch the modules: {fetched.stdout[-1500:]}")
    subprocess.run(["go", "build", "-buildvcs=false", "-o", str(binary), package], cwd=home, check=True)


def configure(file, port, application):
    """The client's configuration: the address of the coordinator, and defaults otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"""seata:
  enabled: true
  application-id: {application}
  tx-service-group: interop_group
  service:
    vgroup-mapping:
      interop_group: default
    grouplist:
      default: 127.0.0.1:{port}
""")


class GoClient:
    def __init__(self, version):
        self.version = version
        self.name = f"go-{version}"
        self.binary = places.WORK / self.name / "client"

    def build(self):
        build(self.version, ".", self.binary)

    def command(self, run_directory, port, only):
        """The test program; its configuration is the address of the coordinator and defaults otherwise."""
        config = run_directory / "seatago.yml"
        configure(config, port, "interop-go")
        return ["env", f"INTEROP_CONFIG={config}", f"INTEROP_ONLY={only}", str(self.binary)]
