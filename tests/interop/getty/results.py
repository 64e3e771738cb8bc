"""Outcomes, compared with the failures that are getty's own: each must fail as listed, with the words listed."""

import re


class Results:
    def __init__(self, differences):
        self.differences = differences
        self.passed = self.failed = self.skipped = self.different = 0

    def add(self, conversation, outcome):
        ok, words = outcome
        key = (conversation.version, conversation.direction, conversation.scenario.name)
        known = self.differences.get(key)
        if known is None:
            word = "pass" if ok else "FAIL"
        elif ok:
            word, words = "FAIL", f"{words}: passes, but is listed ({known[1]})"
        elif known[0].search(words):
            word, words = "diff", f"as known: {known[1]}"
        else:
            word, words = "FAIL", f"{words}: not the failure that is listed ({known[1]})"
        self.passed += word == "pass"
        self.failed += word == "FAIL"
        self.different += word == "diff"
        print(f"{word} getty-{' '.join(key)}: {words}", flush=True)

    def skip(self, version, why, count):
        self.skipped += count
        print(f"skip getty-{version}: {why}", flush=True)

    def summary(self):
        text = f"{self.passed} passed, {self.failed} failed"
        if self.skipped:
            # In the place where the sum over all runners looks for it.
            text += f", {self.skipped} skipped"
        if self.different:
            text += f", {self.different} failures of getty's own as known"
        return text


def read_differences(path):
    """Lines `versions direction scenario /failure/ reason…`; several versions are separated by commas."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#", 1)[0].strip()
        if line:
            versions, direction, scenario, failure, reason = line.split(None, 4)
            for version in versions.split(","):
                found[(version, direction, scenario)] = (re.compile(failure.strip("/")), reason)
    return found
