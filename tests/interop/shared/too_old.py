"""A Java coordinator before 2.0 on our tables: refused at the start and while we run, until it is gone. 2.0.0 is not."""

import java_tables
from driver import tools
from driver.orders import Refused
from scene import equal, eventually

LONG_MS = 600_000


class TooOld:
    def __init__(self, run, judge, server):
        if run.options.ours != "ours":
            raise tools.Missing("only ours asks others for their version")
        self.run = run
        self.judge = judge
        self.schema = server.schema("too_old", java_tables.tables("1.4.2"))
        self.java = run.coordinator("java-1.4.2", self.schema)
        self.ours = run.coordinator("ours", self.schema)

    def play(self):
        self.java.start()
        self.works_at(self.java)
        self.judge.play("refused-at-start", self.refused_at_start)
        self.java.stop()
        self.judge.play("starts-when-it-is-stopped", self.starts)
        application = self.member(self.ours)
        self.java.start()
        self.judge.play("begins-refused-beside-it", lambda: self.begins_refused(application))
        self.java.stop()
        self.judge.play("begins-accepted-when-it-is-stopped", lambda: eventually("a begin", lambda: self.begins(application)))
        newer = self.run.coordinator("java-2.0.0", self.schema)
        newer.start()
        self.works_at(newer)
        self.ours.stop()
        self.judge.play("starts-beside-2.0.0", self.starts)

    def member(self, coordinator):
        return self.run.clients.member("1.4.2", [coordinator.port], "too-old")

    def works_at(self, coordinator):
        """A transaction of this coordinator is in the tables."""
        self.member(coordinator).begin(LONG_MS)

    def refused_at_start(self):
        try:
            self.ours.start()
        except RuntimeError as problem:
            equal(4, self.ours.process.returncode, "exit code")
            # 1.4.2 writes the address of the machine into its xids, whatever it was told.
            for part in (f":{self.java.port} ", "version 1.4.2", "Stop it"):
                if part not in str(problem):
                    raise AssertionError(f"no {part!r} in: {problem}") from None
            return
        raise AssertionError("it serves beside 1.4.2")

    def starts(self):
        self.ours.start()
        self.member(self.ours).begin()

    @staticmethod
    def begins(application):
        try:
            application.begin()
        except Refused:
            return False
        return True

    def begins_refused(self, application):
        """From when something of it is in the tables; what has begun is decided."""
        earlier = application.begin(LONG_MS)
        self.works_at(self.java)
        eventually("a refused begin", lambda: not self.begins(application))
        equal("Committed", application.commit(earlier), "answer to commit")
