"""Scenario results, compared with the differences that are known and explained."""

import threading


class Tally:
    """Counts results over all clients. A listed difference that no longer shows is a failure too."""

    def __init__(self, target, differences):
        self.target = target
        self.differences = differences
        self.passed = self.failed = self.skipped = self.different = 0
        self.lock = threading.Lock()

    def result(self, client, scenario, ok, rest):
        with self.lock:
            reason = self.differences.get((client, scenario))
            if ok and reason is None:
                self.passed += 1
                word = "pass"
            elif ok:
                self.failed += 1
                word, rest = "FAIL", f"{rest}: passes, but is listed as a difference ({reason})"
            elif reason is not None:
                self.different += 1
                word, rest = "diff", f"{rest} [known: {reason}]"
            else:
                self.failed += 1
                word = "FAIL"
            print(f"{word} {self.target} {client} {scenario} {rest}", flush=True)

    def broken(self, client, why):
        with self.lock:
            self.failed += 1
            print(f"FAIL {self.target} {client} {why}", flush=True)

    def skip(self, client, why):
        with self.lock:
            self.skipped += 1
            print(f"skip {self.target} {client}: {why}", flush=True)

    @classmethod
    def sum(cls, tallies):
        """One tally of several."""
        total = cls("all", {})
        for tally in tallies:
            total.passed += tally.passed
            total.failed += tally.failed
            total.skipped += tally.skipped
            total.different += tally.different
        return total

    def summary(self):
        text = f"{self.passed} passed, {self.failed} failed"
        if self.different:
            text += f", {self.different} known differences"
        if self.skipped:
            text += f", {self.skipped} skipped"
        return text


def read_differences(path, target):
    """Lines `target client scenario reason…`; `*` stands for every client."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#", 1)[0].strip()
        if line:
            where, client, scenario, reason = line.split(None, 3)
            if where == target:
                found[(client, scenario)] = reason
    return found
