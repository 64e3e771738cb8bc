"""Results, one line each, and the table that is stored."""

import collections


class Outcome:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.verdicts = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
        self.notes = []

    def add(self, suite, case, verdict, why=""):
        """A verdict is that of the suite; only those in GOOD count as passed. Others are printed."""
        good = verdict in GOOD
        self.passed += good
        self.failed += not good
        section = case.split(".")[0] if case[0].isdigit() else case
        self.verdicts[suite][section][verdict] += 1
        if verdict != "OK":
            self.notes.append(f"{suite} {case}: {verdict} {why}".strip())
            print(f"{'pass' if good else 'FAIL'} {suite} {case} {verdict} {why}", flush=True)

    def skip(self, suite, why):
        self.skipped += 1
        print(f"skip {suite}: {why}", flush=True)

    def summary(self):
        for suite, sections in self.verdicts.items():
            total = sum((counts for counts in sections.values()), collections.Counter())
            print(f"{suite}: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(total.items())))
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")

    def table(self):
        lines = ["# Results", "", "Made by `tests/interop/ws/run --store`; see README.md for what each suite is.", "",
                 "| suite | section or test | results |", "|---|---|---|"]
        for suite, sections in self.verdicts.items():
            for section, counts in sections.items():
                results = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
                lines.append(f"| {suite} | {section} | {results} |")
        if self.notes:
            lines += ["", "Not plainly OK:", ""] + [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"


# What the suite itself counts as conforming. A feature that is not there is none of these.
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
