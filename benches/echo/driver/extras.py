"""Rows beside the matrix: idle sessions, slow readers, a hog, new connections."""

from . import load
from .figures import Cell
from .peers import Peer, Unavailable


def fresh(name, options):
    """A process of its own, so that its memory is that of this row."""
    peer = Peer(name, options.server_cores, raised=options.priority)
    peer.start()
    return peer


def repeat(options, take, *words, **more):
    """A sample by the same rule as all others: three attempts at a quiet one."""
    for _ in range(3):
        row = take(*words, options, **more)
        if not row["why"]:
            break
    return row


def idle(name, options):
    """10,000 sessions that say something every 10 s: CPU, wake-ups and memory; then nothing at all."""
    peer = fresh(name, options)
    try:
        empty = peer.resident_kib()
        cell = Cell(10_000, 1, 64)
        beating = repeat(options, load.sample, peer, "open", cell, rate=1000, seconds=10.0, warmup=1.0)
        silent = repeat(options, load.sample, peer, "open", cell, rate=0.001, seconds=5.0, warmup=0.5)
        beating["per_session"] = (silent["use"]["resident_kib"] - empty) * 1024 / cell.connections if silent.get("use") else None
        return beating, silent
    finally:
        peer.stop()


def polite(name, options):
    """64 connections alone, then with one of them 128 deep, then with four that never read."""
    peer = fresh(name, options)
    try:
        cell = Cell(64, 1, 64)
        rows = [repeat(options, load.sample, peer, "closed", cell)]
        rows.append(repeat(options, load.sample, peer, "closed", cell, hog=128))
        before = peer.resident_kib()
        rows.append(repeat(options, load.sample, peer, "closed", cell, mute=4))
        rows[2]["grown_kib"] = rows[2]["use"]["resident_kib"] - before if rows[2].get("use") else None
        return rows
    finally:
        peer.stop()


def accepts(name, options):
    peer = fresh(name, options)
    try:
        return repeat(options, load.sample, peer, "accept", Cell(1, 1, 64))
    finally:
        peer.stop()


def measure(names, options, rows):
    """All of it for each server; gives back the lines of a table."""
    lines = ["| server | 10,000 sessions, a message every 10 s: % of a core | switches/s | silent: % of a core | switches/s | memory per session, bytes | "
             "p99 of 64 polite, µs | with a hog 128 deep | with 4 that never read (memory grown, KiB) | connections/s | CPU µs each |",
             "|" + "---|" * 11]
    for name in names:
        try:
            beating, silent = idle(name, options)
            alone, hogged, muted = polite(name, options)
            opened = accepts(name, options)
        except Unavailable as why:
            print(f"# {why}", flush=True)
            continue
        for kind, row in (("beating", beating), ("silent", silent), ("alone", alone), ("hogged", hogged), ("muted", muted), ("accepts", opened)):
            rows.append({**row, "extra": kind, "round": 0})
        if any(row.get("use") is None for row in (beating, silent, alone, hogged, muted, opened)):
            lines.append(f"| {name} |" + " failed |" * 10)
            continue
        lines.append("| " + " | ".join([name, *busy(beating), *busy(silent), f"{beating['per_session']:,.0f}", p99(alone),
                                        f"{p99(hogged)} ({times(hogged, alone)} ×)", f"{p99(muted)} ({muted['grown_kib']:,})",
                                        f"{opened['per_second']:,.0f}", f"{opened['use']['cpu'] / 1000:.1f}"]) + " |")
    return "\n".join(lines)


def busy(row):
    """Share of a core, and switches per second."""
    switches = (row["use"]["voluntary"] + row["use"]["involuntary"]) * max(row["messages"], 1) / row["use"]["seconds"]
    return f"{row['use']['server_busy'] * 100:.2f}", f"{switches:,.0f}"


def p99(row):
    return f"{row['latency']['p99'] / 1000:,.0f}"


def times(row, other):
    return f"{row['latency']['p99'] / other['latency']['p99']:.1f}"
