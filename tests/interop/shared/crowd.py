"""Three of our coordinators on one database, under load of real clients, while one after the other is killed, or the database is."""

import random
import time

from account import Account
from scene import await_nothing_left, eventually

# Clients look for lost connections every ten seconds, from their first minute on, and wait 30 s for an answer that will not come.
HEALED_SECONDS_MAX = 120


class Crowd:
    """The coordinators and applications; what is done to them while they work is up to `rounds`."""

    def __init__(self, run, judge, server, name, rounds, names, scripts=()):
        self.run = run
        self.judge = judge
        self.server = server
        self.rounds = rounds
        self.schema = server.schema(name.replace("-", "_"), *scripts)
        self.coordinators = [run.coordinator(f"{kind}-{letter}", self.schema) for kind, letter in zip(names, "abc")]
        self.account = Account()
        self.loads = []
        self.say = lambda text: None

    def play(self):
        self.start()
        self.rounds(self)
        self.heal()
        self.judge_all()

    def start(self, threads=24, rows=400):
        for coordinator in self.coordinators:
            coordinator.start()
        ports = [coordinator.port for coordinator in self.coordinators]
        for seed, version in enumerate(("1.4.2", "2.6.0")):
            self.loads.append(self.run.clients.load(version, ports, f"shop-{seed}", self.account, threads=threads, seed=seed + 1, rows=rows,
                                                    timeout_ms=20_000))
        for load in self.loads:
            if not load.ready.wait(60) or not load.alive():
                raise RuntimeError("an application did not start")
        eventually("the first transactions", lambda: len(self.account.all()) > 20)

    def heal(self):
        """Everything runs again; the applications bring to an end what they have."""
        for coordinator in self.coordinators:
            if coordinator.process.poll() is not None:
                coordinator.start()
        for load in self.loads:
            load.stop()
        end = time.monotonic() + HEALED_SECONDS_MAX
        for load in self.loads:
            if not load.done.wait(max(0, end - time.monotonic())):
                raise RuntimeError(f"an application is not at its end {HEALED_SECONDS_MAX} s after everything was healed")

    def judge_all(self):
        play, account = self.judge.play, self.account
        play("nothing-left", lambda: await_nothing_left(self.schema, HEALED_SECONDS_MAX))
        # The applications' lines of the last calls may still be on their way.
        time.sleep(1)
        play("decided-once", account.decided_once)
        play("promises-kept", account.promises_kept)
        play("all-called", account.all_called)
        play("rows-exclusive", account.rows_exclusive)
        play("made-progress", self.made_progress)

    def made_progress(self):
        everything = self.account.all()
        told = sum(1 for one in everything if one.told)
        if told < 50:
            raise AssertionError(f"only {told} decisions were told: {self.account.summary()}; {self.account.first_errors}")
        return self.account.summary()

    def kill_one(self, index, down_seconds):
        """kill -9 of one coordinator, and after a while its start on the same database."""
        coordinator = self.coordinators[index]
        self.say(f"kill -9 of coordinator {'abc'[index]}")
        coordinator.kill()
        time.sleep(down_seconds)
        coordinator.start()
        self.say(f"coordinator {'abc'[index]} is back")


def kill_coordinators(seconds, period=4.0, down=(0.5, 2.5), seed=1):
    """Rounds for `seconds`: one after the other dies, in turn, for a short while or a longer one."""
    def rounds(crowd):
        dice = random.Random(seed)
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            began = time.monotonic()
            crowd.kill_one(turn % len(crowd.coordinators), dice.uniform(*down))
            turn += 1
            time.sleep(max(0.0, period - (time.monotonic() - began)))
    return rounds


def kill_database(seconds, period=10.0, down=2.0):
    """Rounds for `seconds`: the database server dies and is started again on its data."""
    def rounds(crowd):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(period / 2)
            crowd.say("kill -9 of the database server")
            crowd.server.kill()
            time.sleep(down)
            crowd.server.start()
            crowd.say("the database server is back")
            time.sleep(period / 2)
    return rounds
