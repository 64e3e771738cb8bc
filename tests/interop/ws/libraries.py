"""Clients and servers of other makes: `websockets` for Python and `ws` for Node."""

import shutil
import subprocess
from pathlib import Path

from driver import tools
from places import OURS, WORK, Program, python_with, serve

HERE = Path(__file__).resolve().parent


def websockets():
    return [python_with("kosoku", "websockets"), HERE / "peers" / "python_peer.py"]


def node():
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise tools.Missing("needs node and npm")
    folder = WORK / "node"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules" / "ws").exists():
        made = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "ws"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200)
        if made.returncode != 0:
            raise tools.Missing(f"npm could not install ws: {made.stdout[-300:]}")
    shutil.copy(HERE / "peers" / "node_peer.js", folder)
    return ["node", folder / "node_peer.js"]


def their_client(name, peer):
    def suite(outcome):
        _, address = serve("--deflate", "on", "--subprotocols", "b,c")
        for packing in ("plain", "deflate"):
            client = Program(*peer(), "client", f"ws://{address}/", packing)
            verdict(outcome, name, packing, client)
    return suite


def their_server(name, peer):
    def suite(outcome):
        for packing in ("plain", "deflate"):
            server = Program(*peer(), "server", packing)
            address = server.expect("listening ")
            flags = ["--deflate", "on"] if packing == "deflate" else []
            client = Program(OURS, "echo", "--to", f"ws://{address}/", "--subprotocols", "a,b", *flags)
            verdict(outcome, name, packing, client)
            agreed = client.expect("open ")
            wanted = f'Some("b") deflate={str(packing == "deflate").lower()}'
            outcome.add(name, f"{packing} agreed", "OK" if agreed == wanted else "FAILED", agreed)
    return suite


def verdict(outcome, name, case, client):
    code = client.wait(180)
    done = code == 0 and any(line.startswith("done") for line in client.lines)
    outcome.add(name, case, "OK" if done else "FAILED", "" if done else str(client.lines[-3:]))


SUITES = {
    "client websockets (Python)": their_client("client websockets (Python)", websockets),
    "server websockets (Python)": their_server("server websockets (Python)", websockets),
    "client ws (Node)": their_client("client ws (Node)", node),
    "server ws (Node)": their_server("server ws (Node)", node),
}
