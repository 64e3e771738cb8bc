"""What all parts share: the places of a run, our coordinators on a database, and the rows a transaction still has."""

import re
import time

from driver import coordinator, tools
from driver.orders import Broken, Refused
from members import BUILDING

# Statuses of rows that may stay for 130 s after the begin: of ended transactions, and with a Java coordinator those it has
# finished without saying so.
ENDED = {9, 11, 13}
ENDED_BY_JAVA = ENDED | {2, 4}
JAVA = {"java-1.4.2": coordinator.Java142, "java-2.0.0": coordinator.Java200}


class Run:
    """The directory, clients and processes of one part."""

    def __init__(self, options, directory, clients):
        self.options = options
        self.directory = directory
        self.clients = clients
        self.coordinators = []

    def coordinator(self, name, schema):
        """A coordinator on the tables of the schema; ours after `seamio schema apply`. What follows the kind only tells two apart."""
        directory = self.directory / name
        if name.startswith("ours"):
            made = coordinator.Ours(directory, self.options.binary, schema.url())
        else:
            made = JAVA[name[:len("java-x.y.z")]](directory, jvm=["-Xmx512m"], database=schema)
        with BUILDING:
            made.prepare()
        made.wipe()
        if name.startswith("ours"):
            made.apply_schema()
        self.coordinators.append(made)
        return made

    def end(self):
        self.clients.kill()
        for made in self.coordinators:
            made.kill()


class Judge:
    """Plays scenarios and prints a line for each."""

    def __init__(self, tally, part, only):
        self.tally = tally
        self.part = part
        self.only = only

    def prepare(self, name, body):
        """What comes before a scenario: a line only when it fails."""
        return self.play(name, body, told_when_passed=False)

    def play(self, name, body, told_when_passed=True):
        """Whether it passed, or None when it was not asked for."""
        if not re.search(self.only, f"{self.part}/{name}"):
            return None
        began = time.monotonic()
        try:
            told = body()
            problem = None
        except (AssertionError, Broken, Refused, RuntimeError, OSError, ValueError, tools.Missing) as error:
            problem = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
        took = f"{round((time.monotonic() - began) * 1000)} ms"
        words = [took, problem or told]
        if problem or told_when_passed:
            self.tally.result(self.part, name, problem is None, ": ".join(word for word in words if word))
        return problem is None


def rows_of(schema, xid):
    """The status in global_table or None, and the numbers of branches and locks."""
    found = schema.run(f"SELECT status FROM global_table WHERE xid = '{xid}';")
    return (int(found[0][0]) if found else None, schema.count("branch_table", f"xid = '{xid}'"), schema.count("lock_table", f"xid = '{xid}'"))


def await_end(schema, xid, seconds_max=30, left_over=ENDED_BY_JAVA):
    """Returns when nothing of it is left but a row that says it is over."""
    end = time.monotonic() + seconds_max
    while True:
        status, branches, locks = rows_of(schema, xid)
        if not branches and not locks and (status is None or status in left_over):
            return
        if time.monotonic() > end:
            raise AssertionError(f"{xid} is not over after {seconds_max} s: status {status}, {branches} branches, {locks} locks")
        time.sleep(0.1)


def await_nothing_left(schema, seconds_max, but=(), but_xids=()):
    """Returns when no lock and no branch is left, and no global row but those in one of the statuses `but`; without those of `but_xids`."""
    own = sorted({"seamio_decision", "seamio_share"} & schema.present())
    end = time.monotonic() + seconds_max
    others = f"xid NOT IN ({', '.join(repr(xid) for xid in but_xids)})" if but_xids else "1 = 1"
    condition = others + (f" AND status NOT IN ({', '.join(map(str, but))})" if but else "")
    while True:
        left = {table: schema.count(table, others) for table in ("branch_table", "lock_table", *own)}
        left["global_table"] = schema.count("global_table", condition)
        left = {table: rows for table, rows in left.items() if rows}
        if not left:
            return
        if time.monotonic() > end:
            statuses = schema.run(f"SELECT status, count(*), min(xid), max(xid) FROM global_table WHERE {condition} GROUP BY status;")
            raise AssertionError(f"left after {seconds_max} s: " + ", ".join(f"{rows} in {table}" for table, rows in left.items())
                                 + "".join(f"; status {row[0]}: {row[1]}, such as {row[2]} and {row[3]}" for row in statuses))
        time.sleep(0.2)


def equal(expected, found, what):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def one_of(expected, found, what):
    if found not in expected:
        raise AssertionError(f"{what}: expected one of {expected!r}, found {found!r}")


def eventually(what, condition, seconds_max=30):
    """Asks again until the condition holds."""
    end = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds_max} s")
        time.sleep(0.05)
