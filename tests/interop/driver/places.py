"""Directories of the repository, and of everything these scripts make: all of it below target/."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
INTEROP = ROOT / "tests" / "interop"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "interop"
