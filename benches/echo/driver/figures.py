"""Medians, ratios with their intervals, and the cells they are of."""

import random
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    connections: int
    depth: int
    payload: int

    @classmethod
    def parse(cls, text):
        return cls(*map(int, text.split("x")))

    @property
    def name(self):
        return f"{self.connections}x{self.depth}x{self.payload}"

    @property
    def title(self):
        size = f"{self.payload} B" if self.payload < 1024 else f"{self.payload // 1024} KiB"
        return f"{self.connections:,} × {self.depth}, {size}"


def full_matrix():
    """All cells; 10,000 connections with 128 messages of 16 KiB each would need 20 GB, so the depth is 16 there."""
    cells = []
    for connections in (1, 64, 1000, 10_000):
        for payload in (64, 1024, 16_384):
            for depth in (1, 16, 128):
                if (connections, payload, depth) != (10_000, 16_384, 128):
                    cells.append(Cell(connections, depth, payload))
    return cells


def value(row, path):
    """A number deep inside a sample: `latency.p99` may itself have dots in its last part."""
    for key in path.split(".", 1):
        row = row[key]
    return row


def median(rows, path):
    return statistics.median(value(row, path) for row in rows)


@dataclass
class Ratio:
    """Median of the ratios of pairs, and where 95 % of the medians of resampled pairs lie."""

    middle: float
    low: float
    high: float
    pairs: int

    @property
    def is_clear(self):
        return self.low > 1 or self.high < 1

    def __str__(self):
        return f"{self.middle:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(base, other, path, seed):
    """`base` to `other`, round by round; `None` without a single good pair."""
    rounds = {row["round"]: row for row in other}
    pairs = [(row, rounds[row["round"]]) for row in base if row["round"] in rounds]
    ratios = [value(a, path) / value(b, path) for a, b in pairs if value(b, path) > 0]
    if not ratios:
        return None
    chance = random.Random(seed)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    return Ratio(statistics.median(ratios), medians[50], medians[1949], len(ratios))


class Samples:
    """Everything measured, and the good part of it."""

    def __init__(self, rows, keep_noisy=False):
        self.rows = rows
        self.good = [row for row in rows if not row["why"] or (keep_noisy and row["why"] != "failed")]

    def of(self, peer, cell, mode="closed"):
        wanted = (peer, cell.name, mode)
        return [row for row in self.good if "extra" not in row and (row["peer"], row["cell"], row["mode"]) == wanted]

    def discards(self):
        counts = {}
        for row in self.rows:
            if row["why"]:
                counts[row["why"]] = counts.get(row["why"], 0) + 1
        return counts
