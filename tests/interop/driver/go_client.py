"""The Go client: a small module pinned to one release of seata-go."""

import subprocess

from . import places, tools


class GoClient:
    def __init__(self, version):
        self.version = version
        self.name = f"go-{version}"
        self.binary = places.WORK / self.name / "client"

    def build(self):
        tools.require("go")
        self.binary.parent.mkdir(parents=True, exist_ok=True)
        module = (places.INTEROP / "go" / "go.mod").read_text(encoding="utf-8")
        if f"seata-go v{self.version}\n" not in module:
            raise tools.Missing(f"go.mod pins another release of seata-go than {self.version}")
        fetched = subprocess.run(["go", "mod", "download"], cwd=places.INTEROP / "go", stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        if fetched.returncode != 0:
            raise tools.Missing(f"Go could not fetch the modules: {fetched.stdout[-1500:]}")
        subprocess.run(["go", "build", "-buildvcs=false", "-o", str(self.binary), "."], cwd=places.INTEROP / "go", check=True)

    def command(self, run_directory, port, only):
        """The test program; its configuration is the address of the coordinator and defaults otherwise."""
        run_directory.mkdir(parents=True)
        config = run_directory / "seatago.yml"
        config.write_text(f"""seata:
  enabled: true
  application-id: interop-go
  tx-service-group: interop_group
  service:
    vgroup-mapping:
      interop_group: default
    grouplist:
      default: 127.0.0.1:{port}
""")
        return ["env", f"INTEROP_CONFIG={config}", f"INTEROP_ONLY={only}", str(self.binary)]
