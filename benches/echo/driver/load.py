"""One run of the generator against one server."""

import json
import os
import subprocess
import time

from . import places
from .peers import raise_priority

# A sample with more of this was not a measurement of the server alone. The rule is the same for every server.
STEAL_MAX = 0.01
FOREIGN_MAX = 0.05
STALLED_MAX = 0.05


def generate(words, core, raised=False, patience=120):
    """Runs the generator on its core and gives back what it reports; `None` and its words when it fails."""
    command = [str(places.RELEASE / "load"), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=lambda: os.sched_setaffinity(0, core))
    if raised:
        raise_priority(process.pid)
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, "no end"
    return (json.loads(out), "") if process.returncode == 0 else (None, err.strip())


def sample(peer, mode, cell, options, **more):
    """One measurement; the server runs only meanwhile."""
    words = [mode, "--to", f"127.0.0.1:{peer.port}", "--server", peer.process.pid, "--connections", cell.connections,
             "--depth", cell.depth, "--payload", cell.payload]
    settings = {"seconds": options.seconds, "warmup": options.warmup, **more}
    for name, value in settings.items():
        words += [f"--{name}"] if value is True else [f"--{name}", value]
    peer.resume()
    try:
        report, error = generate(words, options.generator_core, options.priority)
        peer.settle()
    finally:
        peer.pause()
    row = {"peer": peer.name, "cell": cell.name, "mode": mode, "at": round(time.time(), 1), "error": error, **more}
    if report is None:
        return {**row, "why": "failed"}
    row.update(report)
    row["why"] = why_discarded(report["use"], peer.is_alone)
    return row


def why_discarded(use, is_alone):
    if use["steal"] > STEAL_MAX:
        return "steal"
    if use["foreign"] > FOREIGN_MAX:
        return "foreign"
    # Where a server has more threads than cores its own threads wait for each other, which is no noise.
    if is_alone and use["stalled"] > STALLED_MAX:
        return "stalled"
    return ""
