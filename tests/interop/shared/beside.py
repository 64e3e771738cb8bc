"""Two coordinators on the same tables at the same time: what one begins, the other decides, refuses and finishes."""

import threading
import time

import java_tables
from scene import ENDED, ENDED_BY_JAVA, await_end, await_nothing_left, equal, eventually, one_of

AT, TCC = "AT", "TCC"
ROWS, ACTION = "jdbc:mysql://shop/beside", "beside"
RACES = 10


class Side:
    """A coordinator, and an application that knows only this one."""

    def __init__(self, run, name, made, version):
        self.run = run
        self.name = name
        self.coordinator = made
        self.version = version
        self.running = None
        self.pid = None

    @property
    def member(self):
        """The application; a new process when the coordinator is another one than it was connected to."""
        pid = self.coordinator.process.pid
        if self.running is None or self.pid != pid:
            if self.running:
                self.running.kill()
            self.running = self.run.clients.member(self.version, [self.coordinator.port], "beside-app", (AT, ROWS), (TCC, ACTION))
            self.pid = pid
        return self.running

    def guest(self, application, *resources):
        """A process of another application that knows only this coordinator."""
        return self.run.clients.member(self.version, [self.coordinator.port], application, *resources)

    def is_java(self):
        return self.name.startswith("java")


class Beside:
    def __init__(self, run, judge, names, versions, server):
        self.run = run
        self.judge = judge
        self.schema = server.schema("beside", java_tables.tables("2.0.0"))
        names = names if names[0] != names[1] else [f"{name}-{side}" for name, side in zip(names, "ab")]
        made = [run.coordinator(name, self.schema) for name in names]
        self.sides = [Side(run, *parts) for parts in zip(names, made, versions)]
        self.rows = 0
        self.past = []

    def play(self):
        """Everything in both directions; then one is killed, started again, and then the other."""
        for side in self.sides:
            side.coordinator.start()
        first, second = self.sides
        for x, y in ((first, second), (second, first)):
            self.alive(x, y)
        for x, y in ((second, first), (first, second)):
            self.killed(x, y)
        self.judge.play("nothing-left", self.nothing_left)

    def alive(self, x, y):
        way = f"{x.name}-begins"
        for kind in (AT, TCC):
            for word in ("commit", "rollback"):
                self.judge.play(f"{word}/{kind}/{way}", lambda k=kind, w=word: self.decided_there(x, y, k, w, x))
                self.judge.play(f"register-there-{word}/{kind}/{way}", lambda k=kind, w=word: self.decided_here(x, y, k, w))
                self.judge.play(f"two-branches-{word}/{kind}/{way}", lambda k=kind, w=word: self.two_branches(x, y, k, w))
        self.judge.play(f"lock-conflict/{way}", lambda: self.lock_conflict(x, y))
        self.judge.play(f"lock-own/{way}", lambda: self.lock_own(x, y))
        self.judge.play(f"repeated/{way}", lambda: self.repeated(x, y))
        self.judge.play(f"race/{way}", lambda: self.race(x, y))
        self.judge.play(f"timeout/{way}", lambda: self.timeout(x))
        guest = y.guest("beside-there", *((kind, f"there-{kind}") for kind in (AT, TCC)))
        self.past.append(guest)
        for kind in (AT, TCC):
            self.judge.play(f"application-only-there/{kind}/{way}", lambda k=kind: self.application_only_there(x, guest, k))
        guest.kill()

    def row(self):
        """A row nobody had before."""
        self.rows += 1
        return f"item:{self.rows}"

    def branch(self, side, kind, xid, row=""):
        return side.member.register(kind, ROWS if kind == AT else ACTION, xid, row if kind == AT else "")

    def calls(self, xid):
        """What the applications of both sides were told."""
        running = [side.running for side in self.sides if side.running]
        return [call for member in [*running, *self.past] for call in member.heard_of(xid)]

    def decide(self, side, xid, word, answers=None):
        answer = getattr(side.member, word)(xid)
        one_of(answers or {"commit": ["Committed"], "rollback": ["Rollbacked"]}[word], answer, f"answer to {word}")

    def carried_out(self, xid, word, branches, seconds_max=30):
        """Every branch is called, in that direction only."""
        wanted = {(word, branch) for branch in branches}
        eventually(f"{word} of {sorted(branches)}", lambda: wanted <= set(self.calls(xid)), seconds_max)
        equal(wanted, set(self.calls(xid)), "calls")
        await_end(self.schema, xid, seconds_max)

    def decided_there(self, x, y, kind, word, registers):
        xid, row = x.member.begin(), self.row()
        branch = self.branch(registers, kind, xid, row)
        self.decide(y, xid, word)
        if kind == AT:
            equal(True, x.member.free(ROWS, row), "the row is free at the answer")
        self.carried_out(xid, word, [branch])

    def decided_here(self, x, y, kind, word):
        xid, row = x.member.begin(), self.row()
        branch = self.branch(y, kind, xid, row)
        self.decide(x, xid, word)
        if kind == AT:
            equal(True, y.member.free(ROWS, row), "the row is free at the answer")
        self.carried_out(xid, word, [branch])

    def two_branches(self, x, y, kind, word):
        xid = x.member.begin()
        branches = [self.branch(x, kind, xid, self.row()), self.branch(y, kind, xid, self.row())]
        self.decide(y, xid, word)
        self.carried_out(xid, word, branches)

    def refused(self, side, xid, row):
        try:
            self.branch(side, AT, xid, row)
        except Exception as problem:  # noqa: BLE001 - its kind is what is looked at
            return getattr(problem, "kind", repr(problem))
        return "registered"

    def lock_conflict(self, x, y):
        holder, other, row = x.member.begin(), y.member.begin(), self.row()
        branch = self.branch(x, AT, holder, row)
        equal("LockKeyConflict", self.refused(y, other, row), "code for a row held at the other side")
        equal(False, y.member.free(ROWS, row), "the row is free")
        self.decide(x, holder, "commit")
        taken = self.branch(y, AT, other, row)
        self.decide(y, other, "rollback")
        self.carried_out(holder, "commit", [branch])
        self.carried_out(other, "rollback", [taken])

    def lock_own(self, x, y):
        """A row that a branch of the same transaction has, registered at the other side."""
        xid, row = x.member.begin(), self.row()
        branches = [self.branch(x, AT, xid, row), self.branch(y, AT, xid, row)]
        self.decide(y, xid, "rollback")
        equal(True, x.member.free(ROWS, row), "the row is free at the answer")
        self.carried_out(xid, "rollback", branches)

    def repeated(self, x, y):
        """A decision is told again by the other side, and does not change."""
        xid = x.member.begin()
        branch = self.branch(x, TCC, xid)
        self.decide(x, xid, "commit")
        one_of(("Committed", "Committing", "Finished"), y.member.commit(xid), "answer to the repeated commit")
        one_of(("Committing", "AsyncCommitting", "Committed", "Finished"), y.member.rollback(xid), "answer to a late rollback")
        self.carried_out(xid, "commit", [branch])

    def race(self, x, y):
        """Commit here and rollback there at the same moment."""
        for _ in range(RACES):
            xid = x.member.begin()
            branches = [self.branch(x, TCC, xid), self.branch(y, TCC, xid)]
            # Both sides' members are there before the threads start.
            deciders = [threading.Thread(target=self.tried, args=(x.member.commit, xid)),
                        threading.Thread(target=self.tried, args=(y.member.rollback, xid))]
            for thread in deciders:
                thread.start()
            for thread in deciders:
                thread.join()
            eventually("calls", lambda x=xid: self.calls(x))
            self.carried_out(xid, self.calls(xid)[0][0], branches)

    @staticmethod
    def tried(decide, xid):
        try:
            decide(xid)
        except Exception:  # noqa: BLE001 - a refusal is as good an answer here
            pass

    def timeout(self, x):
        xid, row = x.member.begin(2_000), self.row()
        branch = self.branch(x, AT, xid, row)
        self.carried_out(xid, "rollback", [branch])

    def application_only_there(self, x, guest, kind):
        """The application that can carry it out knows only the side that did not decide."""
        xid = x.member.begin()
        branch = guest.register(kind, f"there-{kind}", xid, self.row() if kind == AT else "")
        self.decide(x, xid, "commit", ["Committed", "CommitRetrying"])
        self.carried_out(xid, "commit", [branch])

    # A side that is killed.

    def killed(self, x, y):
        """x dies with transactions in every state; their applications come back at y, which has to finish them."""
        way = f"{x.name}-killed"
        away = {f"{name}/{kind}/{way}": (kind, f"{name}-{kind}-{x.name}") for kind in (AT, TCC) for name in ("away-commit", "away-rollback")}
        names = [*away, *(f"{name}/{way}" for name in ("timeout-dead", "undecided-commit", "undecided-rollback"))]
        guest = x.guest("beside-away", *away.values())
        left = {name: self.left_at(x, guest, name, away.get(name)) for name in names}
        guest.kill()
        for name, (kind, _) in away.items():
            self.judge.prepare(f"{name}/decided", lambda n=name, k=kind: self.decided_away(x, n, k, left[n][0]))
        x.coordinator.kill()
        if x.running:
            self.past.append(x.running)
        self.past.append(y.guest("beside-away", *away.values()))
        for name in names:
            self.judge.play(name, lambda n=name: self.finished(y, n, *left[n]))
        self.past[-1].kill()
        x.coordinator.start()

    def left_at(self, x, guest, name, resource):
        timeout_ms = 4_000 if name.startswith("timeout-dead") else 60_000
        xid, row = x.member.begin(timeout_ms), self.row()
        if resource is None:
            return xid, row, self.branch(x, AT, xid, row)
        return xid, row, guest.register(*resource, xid, row if resource[0] == AT else "")

    def decided_away(self, x, name, kind, xid):
        if "rollback" in name:
            self.decide(x, xid, "rollback", ["RollbackRetrying"])
        else:
            self.decide(x, xid, "commit", ["Committed"] if kind == AT else ["CommitRetrying"])

    def finished(self, y, name, xid, row, branch):
        word = name.split("/")[0]
        if word.startswith("undecided"):
            equal(False, y.member.free(ROWS, row), "the row of the undecided transaction is free")
            self.decide(y, xid, word.removeprefix("undecided-"))
        self.carried_out(xid, "commit" if word.endswith("commit") else "rollback", [branch], seconds_max=60)

    def nothing_left(self):
        """At the end no lock, no branch and no transaction is left, but for rows that say that they are over."""
        full = self.run.options.full
        await_nothing_left(self.schema, 150 if full else 30, () if full else ENDED_BY_JAVA if self.has_java() else ENDED)
        kept = self.schema.count("global_table")
        return f"{kept} ended rows are kept for 130 s after their begin" if kept else None

    def has_java(self):
        return any(side.is_java() for side in self.sides)
