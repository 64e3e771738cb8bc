"""A Java coordinator is stopped with transactions in every state, ours starts on its tables; and the way back."""

import java_tables
from scene import ENDED_BY_JAVA, JAVA, await_end, await_nothing_left, equal, eventually, one_of

AT, TCC = "AT", "TCC"
SHOP = "jdbc:mysql://shop/takeover"
# Ours forgets its own record of a transaction that Java has finished a minute later.
TIDIED_SECONDS_MAX = 100
# What a transaction is when its coordinator stops, and what has to become of it.
STATES = {
    "begun-commit": (AT, "commit"), "begun-rollback": (AT, "rollback"), "begun-tcc": (TCC, "commit"), "deadline": (AT, "rollback"),
    "committed-away": (AT, "commit"), "committed-away-tcc": (TCC, "commit"), "rolled-back-away": (AT, "rollback"),
    "rolled-back-away-tcc": (TCC, "rollback"), "timed-out-away": (AT, "rollback"),
    "commit-in-call": (TCC, "commit"), "rollback-in-call": (TCC, "rollback"), "rollback-failed": (AT, None),
}
# In these a Java coordinator takes up what another was calling only 130 s after the begin.
IN_CALL = ("commit-in-call", "rollback-in-call")
# The branches are those of an application that is killed before the decision, or one that does not answer or fails.
AWAY = tuple(state for state in STATES if "away" in state)
CALLED = (*IN_CALL, "rollback-failed")


class Left:
    """A transaction that a coordinator left behind."""

    def __init__(self, application, resource, row):
        self.application, self.resource, self.row = application, resource, row
        self.xid = self.branch = None


class Takeover:
    def __init__(self, run, judge, java, ours, server):
        self.run = run
        self.judge = judge
        self.java = java
        self.names = (f"{java}-a", "ours" if ours == "ours" else f"{ours}-b", f"{java}-c",
                      "ours-again" if ours == "ours" else f"{ours}-d")
        self.schema = server.schema("takeover_" + java.translate({ord("."): None, ord("-"): None}), java_tables.tables(java.removeprefix("java-")))
        self.members = []
        self.number = 0

    def play(self):
        """Java, then ours, Java again and ours again, on the same tables; each leaves transactions to the next."""
        left, before = {}, None
        for index, name in enumerate(self.names):
            # Ours asks for its tables only now: the first time they are as Java made them.
            coordinator = self.run.coordinator(name, self.schema)
            coordinator.start()
            application = self.member(coordinator, "takeover-app", (AT, SHOP), (TCC, "takeover"))
            now = {state: one for state, one in left.items() if self.is_taken_up(state, name)}
            self.guests(coordinator, now.values())
            for state, one in now.items():
                self.judge.play(f"{state}/{before}-to-{name}", lambda s=state, o=one: self.finished(coordinator, application, s, o))
            self.judge.play(f"new-work/{name}", lambda: self.new_work(application))
            left = {state: one for state, one in left.items() if state not in now}
            if index < 2:
                left, before = self.leave(coordinator, application, name, self.states_between(name, self.names[index + 1])), name
            if index < 3:
                self.stop(coordinator, application)
        self.judge.play("nothing-left", lambda: self.nothing_left(left))

    def is_taken_up(self, state, name):
        """Whether the coordinator finishes it while we look."""
        return state not in IN_CALL or name.startswith("ours") or self.run.options.full

    @staticmethod
    def states_between(name, following):
        """Those in which a coordinator can leave a transaction to the next: 1.4.2 forgets what it could not roll back, and its locks."""
        return [state for state in STATES if not (state == "rollback-failed" and "1.4.2" in name + following)]

    def stop(self, coordinator, application):
        """1.4.2 is stopped as an operator does it, 2.0.0 dies; its applications end too, and come back with the next one."""
        application.kill()
        if "1.4.2" in self.java:
            coordinator.stop()
        else:
            coordinator.kill()
        for member in self.members:
            member.kill()

    def member(self, coordinator, application, *resources):
        member = self.run.clients.member("1.4.2", [coordinator.port], application, *resources)
        self.members.append(member)
        return member

    def calls(self, xid):
        return [call for member in self.members for call in member.heard_of(xid)]

    def guests(self, coordinator, transactions):
        """For each other application among these a process that serves its resources."""
        served = {}
        for one in transactions:
            if one.application:
                served.setdefault(one.application, []).append(one.resource)
        return {application: self.member(coordinator, application, *resources) for application, resources in served.items()}

    def leave(self, coordinator, application, name, states):
        """Brings new transactions into these states; answers with those it could."""
        left = {}
        for state in states:
            self.number += 1
            kind = STATES[state][0]
            guest = "away" if state in AWAY else "called" if state in CALLED else None
            resource = (kind, f"{state}-{self.number}") if guest else (kind, SHOP if kind == AT else "takeover")
            left[state] = Left(guest and f"{guest}-of-{name}", resource, f"item:{self.number}" if kind == AT else "")
        guests = self.guests(coordinator, left.values())
        for state, one in left.items():
            timeout_ms = {"deadline": 12_000, "timed-out-away": 1_000}.get(state, 600_000)
            owner = guests[one.application] if one.application else application
            one.xid = application.begin(timeout_ms)
            one.branch = owner.register(*one.resource, one.xid, one.row)
        guests[f"away-of-{name}"].kill()
        for state, one in left.items():
            bring = getattr(self, "bring_" + state.replace("-", "_"), None)
            if bring and self.judge.prepare(f"{state}/{name}-leaves", lambda b=bring, o=one: b(application, guests.get(f"called-of-{name}"), o)) is not True:
                one.xid = None
        return {state: one for state, one in left.items() if one.xid}

    def bring_committed_away(self, application, _called, one):
        equal("Committed", application.commit(one.xid), "answer to commit")

    def bring_committed_away_tcc(self, application, _called, one):
        equal("CommitRetrying", application.commit(one.xid), "answer to commit")

    def bring_rolled_back_away(self, application, _called, one):
        equal("RollbackRetrying", application.rollback(one.xid), "answer to rollback")

    bring_rolled_back_away_tcc = bring_rolled_back_away

    def bring_timed_out_away(self, application, _called, one):
        eventually("the time-out is decided", lambda: application.status(one.xid).startswith("Timeout"))

    def bring_commit_in_call(self, application, called, one):
        """Decided while nobody waits for the answer, and the branch does not answer."""
        called.order("hold", one.resource[1])
        application.order("later", STATES["commit-in-call"][1], one.xid)
        eventually("the branch is called", lambda: called.heard_of(one.xid))

    def bring_rollback_in_call(self, application, called, one):
        called.order("hold", one.resource[1])
        application.order("later", STATES["rollback-in-call"][1], one.xid)
        eventually("the branch is called", lambda: called.heard_of(one.xid))

    def bring_rollback_failed(self, application, called, one):
        called.order("answer", one.resource[1], "PhaseTwo_RollbackFailed_Unretryable")
        equal("RollbackFailed", application.rollback(one.xid), "answer to rollback")

    def finished(self, coordinator, application, state, left):
        """The next coordinator has the locks, takes the decision that is still open, and carries out what is decided."""
        word = STATES[state][1]
        if state.startswith("begun"):
            equal("Begin", application.status(left.xid), "status")
            if left.row:
                equal(False, application.free(SHOP, left.row), "its row is free")
            answers = {"commit": ["Committed"], "rollback": ["Rollbacked"]}[word]
            one_of(answers, getattr(application, word)(left.xid), f"answer to {word}")
        if word is None:
            equal("RollbackFailed", application.status(left.xid), "status")
            equal(1, self.schema.count("lock_table", f"xid = '{left.xid}'"), "locks of the dirty row")
            self.schema.run("".join(f"DELETE FROM {table} WHERE xid = '{left.xid}';" for table in ("lock_table", "branch_table", "global_table")))
            return
        patience = 150 if state in IN_CALL and coordinator.name in JAVA else 30
        wanted = {(word, left.branch)}
        eventually(f"{word} of the branch", lambda: wanted <= set(self.calls(left.xid)), patience)
        await_end(self.schema, left.xid, patience)
        equal(wanted, set(self.calls(left.xid)), "calls")

    def new_work(self, application):
        """It works, and its ids are new ones."""
        for word, answer in (("commit", "Committed"), ("rollback", "Rollbacked")):
            xid = application.begin()
            self.number += 1
            branches = {application.register(AT, SHOP, xid, f"item:{self.number}"), application.register(TCC, "takeover", xid)}
            equal(answer, getattr(application, word)(xid), f"answer to {word}")
            eventually(f"{word} of both branches", lambda x=xid, w=word, b=branches: {(w, one) for one in b} == set(self.calls(x)))

    def nothing_left(self, left):
        """The last one runs: it tidies what the others left, but for what Java would take up later."""
        await_nothing_left(self.schema, TIDIED_SECONDS_MAX, ENDED_BY_JAVA, but_xids=[one.xid for one in left.values()])
        kept = self.schema.count("global_table")
        return f"{kept} ended rows are kept" if kept else None
