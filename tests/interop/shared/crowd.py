"""Three of our coordinators on one database, under load of real clients, while one after the other is killed, or the database is."""

import random
import signal
import time

from account import Account
from scene import await_nothing_left, eventually

# Clients look for lost connections every ten seconds, from their first minute on, and wait 30 s for an answer that will not come.
HEALED_SECONDS_MAX = 120
# More than the time-out of a transaction whose coordinator was killed last, and its lease.
LEFT_SECONDS_MAX = 60
# More than the life of a lease.
AWAY_SECONDS = 12


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

    def start(self, threads=32, rows=400):
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
        play("nothing-left", self.nothing_left)
        # The applications' lines of the last calls may still be on their way.
        time.sleep(1)
        play("ids-unique", account.ids_unique)
        play("decided-once", account.decided_once)
        play("promises-kept", account.promises_kept)
        play("all-called", account.all_called)
        play("rows-exclusive", account.rows_exclusive)
        play("made-progress", self.made_progress)

    def nothing_left(self):
        try:
            await_nothing_left(self.schema, LEFT_SECONDS_MAX)
        except AssertionError:
            # For whoever looks for the reason.
            tables = {table: self.schema.run(f"SELECT * FROM {table} LIMIT 200;") for table in sorted(self.schema.present())}
            (self.run.directory / "left").write_text("".join(
                f"{table}\n" + "".join("  " + "  ".join(row) + "\n" for row in rows) for table, rows in tables.items()))
            raise

    def made_progress(self):
        everything = self.account.all()
        told = sum(1 for one in everything if one.told)
        if told < 50:
            raise AssertionError(f"only {told} decisions were told: {self.account.summary()}; {self.account.first_errors}")
        return self.account.summary()

    def live(self, index):
        return self.coordinators[index], "abc"[index]

    # What is done to coordinators. Each returns when the coordinator is there again.

    def kill(self, index, dice):
        """kill -9, and its start on the same database before its lease is over, or just then."""
        coordinator, letter = self.live(index)
        self.say(f"kill -9 of coordinator {letter}")
        coordinator.kill()
        time.sleep(dice.uniform(0.5, 2.5))
        coordinator.start()
        self.say(f"coordinator {letter} is back")

    def lose(self, index, _dice):
        """kill -9, and it stays away beyond its lease: siblings take over what it drove."""
        coordinator, letter = self.live(index)
        self.say(f"kill -9 of coordinator {letter}, which stays away for {AWAY_SECONDS} s")
        coordinator.kill()
        time.sleep(AWAY_SECONDS)
        coordinator.start()
        self.say(f"coordinator {letter} is back")

    def pause(self, index, _dice):
        """Stopped in its tracks beyond its lease and let go again: it must not go on where it was."""
        coordinator, letter = self.live(index)
        self.say(f"coordinator {letter} stands still for {AWAY_SECONDS} s")
        coordinator.process.send_signal(signal.SIGSTOP)
        time.sleep(AWAY_SECONDS)
        coordinator.process.send_signal(signal.SIGCONT)
        self.say(f"coordinator {letter} goes on")


def trouble_coordinators(seconds, pause=1.5, seed=1):
    """Rounds for `seconds`, and at least once each: the coordinators in turn are killed, killed, lost, and paused."""
    def rounds(crowd):
        dice = random.Random(seed)
        end = time.monotonic() + seconds
        kinds = [crowd.kill, crowd.kill, crowd.lose, crowd.pause]
        turn = 0
        while turn < len(kinds) or time.monotonic() < end:
            kinds[turn % len(kinds)](turn % len(crowd.coordinators), dice)
            turn += 1
            time.sleep(pause)
    return rounds


def kill_database(seconds, period=8.0, down=2.0):
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
