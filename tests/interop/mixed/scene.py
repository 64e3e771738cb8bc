"""A scene: one coordinator, two kinds of peers, and the databases they share, in which scenarios are played."""

import re
import time

from databases import Database  # noqa: F401
from driver import tools
from peers import Broken, Refused

SCENARIOS = []


def scenario(mode, selection=False, databases=(None,)):
    """Registers a scenario `f(scene, first, other)`, or for AT `f(scene, first, other, database)`.

    `selection`: also played with the coordinators of others. It is played in both directions.
    """
    def register(function):
        SCENARIOS.append((function.__name__.replace("_", "-"), mode, selection, databases, function))
        return function
    return register


def at(selection=False, databases=("mariadb", "postgres")):
    return scenario("at", selection, databases)


class Scene:
    def __init__(self, options, coordinator, pair, servers, tables, tally):
        self.options = options
        self.coordinator = coordinator
        self.pair = pair
        self.servers = servers
        self.tables = tables
        self.tally = tally
        self.directory = coordinator.directory.parent
        self.databases = {}
        self.name = pair[1].name

    def play(self):
        """Starts everything, plays what is asked for, and ends everything."""
        self.coordinator.wipe()
        try:
            self.open_databases()
            self.coordinator.start()
            for name, mode, selection, kinds, function in SCENARIOS:
                if mode in self.pair[1].modes and (selection or self.coordinator.name == "ours"):
                    for kind in kinds:
                        self.both_ways(name, kind, function)
        except (OSError, RuntimeError) as problem:
            self.tally.broken(self.name, str(problem))
        finally:
            self.end()

    def open_databases(self):
        if "at" not in self.pair[1].modes:
            return
        suffix = re.sub(r"\W", "_", f"{self.coordinator.name}_{self.name}").lower()
        for kind in ("mariadb", "postgres"):
            try:
                database = self.servers.database(kind, f"mixed_{suffix}")
                database.create(self.tables[kind])
                self.databases[kind] = database
            except tools.Missing as missing:
                self.tally.skip(self.name, f"{kind}: {missing}")

    def both_ways(self, name, kind, function):
        if kind is not None and kind not in self.databases:
            return
        ours, theirs = self.pair
        for first, other in ((ours, theirs), (theirs, ours)):
            label = "/".join(part for part in (kind, name, f"{first.name}-first") if part)
            if re.search(self.options.only, label):
                self.one(label, function, first, other, kind)

    def one(self, label, function, first, other, kind):
        began = time.monotonic()
        try:
            peers = (first.in_scene(self), other.in_scene(self))
            function(self, *peers, *([self.databases[kind]] if kind else []))
            problem = None
        except (AssertionError, Broken, Refused, RuntimeError, OSError, ValueError) as error:
            problem = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
        took = f"{round((time.monotonic() - began) * 1000)} ms"
        self.tally.result(self.name, label, problem is None, took if problem is None else f"{took}: {problem}")

    def one_column_keys(self, database):
        """Whether a side of this scene refuses composite keys on this database."""
        return database.kind == "postgres" and any(getattr(peer, "old", False) for peer in self.pair)

    def end(self):
        for peer in self.pair:
            peer.kill()
        self.coordinator.stop()

    def abort(self):
        for peer in self.pair:
            if peer.running and peer.running.alive():
                peer.running.process.kill()
        if self.coordinator.process and self.coordinator.process.poll() is None:
            self.coordinator.process.kill()


def equal(expected, found, what):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def eventually(what, condition, seconds_max=30):
    """Asks again until the condition holds."""
    end = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds_max} s")
        time.sleep(0.05)
