"""Directories of the repository, and of everything these scripts make."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ECHO = ROOT / "benches" / "echo"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "echo"
PEERS = TARGET / "peers"
RELEASE = TARGET / "release"
GETTY_VERSIONS = ROOT / "tests" / "interop" / "getty" / "peer" / "versions"
