"""The account of a load: what the applications were told, what their resource managers were asked, and whether both agree."""

import threading
from collections import Counter, defaultdict

COMMITS = {"Committed", "Committing", "CommitRetrying", "AsyncCommitting", "CommitFailed"}
ROLLBACKS = {"Rollbacked", "Rollbacking", "RollbackRetrying", "TimeoutRollbacked", "TimeoutRollbacking", "TimeoutRollbackRetrying",
             "RollbackFailed"}


class Transaction:
    __slots__ = ("xid", "begun", "timeout", "branches", "rows", "asked", "told", "calls", "errors", "last_call", "left")

    def __init__(self, xid):
        self.xid = xid
        self.begun = self.asked = self.last_call = None
        self.timeout = 0
        self.branches = {}  # branch: type
        self.rows = []  # (row, time it was given)
        self.told = []  # (asked, status, time)
        self.calls = Counter()  # (direction, branch)
        self.errors = 0
        self.left = False

    def directions(self):
        return {direction for direction, _ in self.calls}

    def promised(self):
        """The directions that answers have promised: commit, rollback, both, or none."""
        return {"commit" if status in COMMITS else "rollback" for _, status, _ in self.told if status in COMMITS | ROLLBACKS}

    def held(self):
        """When it surely held its rows: from the answer to the register to the first request for a decision, or its deadline."""
        deadline = self.begun + self.timeout
        end = min(self.asked or deadline, deadline)
        return [(row, since, end) for row, since in self.rows if since < end]


class Account:
    """Collects the events of all applications; any thread may add."""

    def __init__(self):
        self.lock = threading.Lock()
        self.transactions = {}
        self.errors = Counter()
        self.first_errors = {}
        self.conflicts = 0
        self.branches = set()
        self.twice = []
        self.last_event = 0

    def add(self, at, word, fields):
        with self.lock:
            self.last_event = max(self.last_event, at)
            note = getattr(self, "note_" + word.replace("-", "_"))
            note(at, *fields)

    def of(self, xid):
        if xid not in self.transactions:
            self.transactions[xid] = Transaction(xid)
        return self.transactions[xid]

    def error(self, kind, text):
        self.errors[kind] += 1
        self.first_errors.setdefault(kind, text)

    def note_begin(self, at, xid, left_ms):
        """Answered now; its deadline is so far away."""
        one = self.of(xid)
        if one.begun is not None:
            self.twice.append(xid)
        one.begun, one.timeout = at, int(left_ms) * 1000

    def note_begin_error(self, _at, text):
        self.error("begin", text)

    def note_broken(self, _at, text):
        self.error("application", text)

    def note_branch(self, at, xid, branch, kind, row):
        one = self.of(xid)
        if int(branch) in self.branches:
            self.twice.append(f"branch {branch}")
        self.branches.add(int(branch))
        one.branches[int(branch)] = kind
        if row:
            one.rows.append((row, at))

    def note_branch_error(self, _at, xid, text):
        self.of(xid).errors += 1
        self.error("register", text)

    def note_conflict(self, _at, _xid):
        self.conflicts += 1

    def note_left(self, _at, xid):
        self.of(xid).left = True

    def note_ask(self, at, xid, _word):
        one = self.of(xid)
        one.asked = one.asked or at

    def note_ask_error(self, _at, xid, word, text):
        self.of(xid).errors += 1
        self.error(word, text)

    def note_told(self, at, xid, word, status):
        self.of(xid).told.append((word, status, at))

    def note_gave_up(self, _at, _xid, word):
        self.error(f"{word}, given up", "")

    def note_call(self, at, direction, xid, branch):
        one = self.of(xid)
        one.calls[(direction, int(branch))] += 1
        one.last_call = at

    def all(self):
        with self.lock:
            return list(self.transactions.values())

    # What must hold at the end. Each answers with a text for the reader, or raises AssertionError.

    def ids_unique(self):
        """No id of a transaction or branch was given out twice, whoever gave it."""
        with self.lock:
            none_of(list(self.twice), "given out twice")
            return f"{len(self.transactions)} transactions and {len(self.branches)} branches"

    def decided_once(self):
        """No transaction had branches committed and branches rolled back, and none was told both."""
        wrong = [one.xid for one in self.all() if len(one.directions()) > 1 or len(one.promised()) > 1]
        none_of(wrong, "was decided twice")
        return f"{sum(1 for one in self.all() if one.calls)} transactions with calls"

    def promises_kept(self):
        """What was answered was carried out, on every branch, and nothing else was."""
        wrong, kept = [], 0
        for one in self.all():
            for direction in one.promised():
                called = {branch for word, branch in one.calls if word == direction}
                if one.directions() - {direction} or set(one.branches) - called:
                    wrong.append(f"{one.xid} told {direction}, branches {sorted(one.branches)}, calls {sorted(one.calls)}")
                kept += 1
        none_of(wrong, "was told one thing and carried out as another")
        return f"{kept} answers"

    def all_called(self):
        """Every branch that was registered was called in the end: also those of transactions nobody decided."""
        wrong = [f"{one.xid} branches {sorted(one.branches)}, calls {sorted(one.calls)}" for one in self.all()
                 if set(one.branches) - {branch for _, branch in one.calls}]
        none_of(wrong, "has branches that were never called")
        return f"{sum(len(one.branches) for one in self.all())} branches"

    def rows_exclusive(self):
        """No row was given to two transactions at the same time."""
        spans = defaultdict(list)
        for one in self.all():
            if one.begun:
                for row, since, end in one.held():
                    spans[row].append((since, end, one.xid))
        wrong = []
        for row, held in spans.items():
            held.sort()
            for (_, end, first), (since, _, second) in zip(held, held[1:]):
                if since < end and first != second:
                    wrong.append(f"{row} of {first} was given to {second}")
        none_of(wrong, "given to two at once")
        return f"{sum(len(held) for held in spans.values())} times a row was held, {self.conflicts} refusals"

    def summary(self):
        """Numbers for the reader."""
        everything = self.all()
        repeated = sum(count - 1 for one in everything for count in one.calls.values() if count > 1)
        text = (f"{sum(1 for one in everything if one.begun)} begun, {sum(1 for one in everything if 'commit' in one.directions())} committed, "
                f"{sum(1 for one in everything if 'rollback' in one.directions())} rolled back, {repeated} calls repeated")
        errors = ", ".join(f"{count} {kind}" for kind, count in sorted(self.errors.items()))
        return f"{text}; errors told to applications: {errors or 'none'}"


def none_of(wrong, what):
    if wrong:
        raise AssertionError(f"{len(wrong)} {what}: " + "; ".join(wrong[:3]))
