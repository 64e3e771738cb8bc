"""AT scenarios: branches of two languages on one database, under one resource id."""

import itertools

import columns
from peers import Refused
from scene import at, equal, eventually

NUMBERS = itertools.count(1000, 10)

TABLES = {
    "mariadb": """
CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, owner VARCHAR(40) NOT NULL, amount DECIMAL(12,2) NOT NULL, note VARCHAR(200));
CREATE TABLE by_text (code VARCHAR(20) NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_three (zeta VARCHAR(10) NOT NULL, b INT NOT NULL, a INT NOT NULL, n INT NOT NULL, PRIMARY KEY (zeta, b, a));
CREATE TABLE by_day (day DATE NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_moment (moment DATETIME NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_stamp (stamp TIMESTAMP NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_price (price DECIMAL(10,3) NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE `order` (id INT NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE MixedCase (Id INT NOT NULL PRIMARY KEY, n INT NOT NULL);
""",
    "postgres": """
CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, owner VARCHAR(40) NOT NULL, amount DECIMAL(12,2) NOT NULL, note VARCHAR(200));
CREATE TABLE by_text (code VARCHAR(20) NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_three (zeta VARCHAR(10) NOT NULL, b INT NOT NULL, a INT NOT NULL, n INT NOT NULL, PRIMARY KEY (zeta, b, a));
CREATE TABLE by_day (day DATE NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_moment (moment TIMESTAMP NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_price (price DECIMAL(10,3) NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_instant (instant TIMESTAMPTZ NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_padded (code CHAR(6) NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_uuid (id UUID NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE by_flag (flag BOOLEAN NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE DOMAIN positive AS INTEGER CHECK (VALUE > 0);
CREATE SCHEMA other;
CREATE TABLE other.by_number (id INT NOT NULL PRIMARY KEY, n INT NOT NULL);
""",
}

# Table, columns of the key, key of the row that is held, key of another row that stays free.
KEYS = [
    ("by_text", "code", "'Abc 你'", "'abc'"),
    ("by_three", "zeta, b, a", "'z', 2, 1", "'z', 1, 2"),
    ("by_day", "day", "'2024-02-29'", "'2024-03-01'"),
    ("by_moment", "moment", "'2024-02-29 12:34:56'", "'2024-02-29 12:34:57'"),
    # In words that do not depend on the zone of the session.
    ("by_stamp", "stamp", "FROM_UNIXTIME(1709210096)", "FROM_UNIXTIME(1709210097)"),
    ("by_instant", "instant", "'2024-02-29 12:34:56+00'", "'2024-02-29 12:34:57.5+00'"),
    ("by_price", "price", "1.5", "15"),
    ("`order`", "id", "1", "2"),
    ("MixedCase", "Id", "1", "2"),
    ("by_padded", "code", "'ab'", "'abc'"),
    ("by_uuid", "id", "'123E4567-E89B-12D3-A456-426655440000'", "'00000000-0000-0000-0000-000000000000'"),
    ("by_flag", "flag", "TRUE", "FALSE"),
    ("other.by_number", "id", "1", "2"),
]


class Accounts:
    """Three rows of their own for one scenario."""

    def __init__(self, database):
        self.database = database
        self.first = next(NUMBERS)
        rows = ", ".join(f"({self.first + i}, 'owner {i}', {100 * (i + 1)}.50, {note})" for i, note in enumerate(("NULL", "'a'", "'b'")))
        database.run(f"INSERT INTO account VALUES {rows};")

    def rows(self):
        return self.database.run(f"SELECT * FROM account WHERE id BETWEEN {self.first} AND {self.first + 9} ORDER BY id;")

    def pay(self, row, amount=10):
        return f"UPDATE account SET amount = amount - {amount}, note = 'paid' WHERE id = {self.first + row}"

    def every_kind(self):
        """An update, an insert and a delete."""
        return [self.pay(0), f"INSERT INTO account (id, owner, amount) VALUES ({self.first + 3}, 'new', 7)",
                f"DELETE FROM account WHERE id = {self.first + 1}"]

    def amount(self, row):
        return self.database.run(f"SELECT amount FROM account WHERE id = {self.first + row};")


def begin(peer, name):
    return peer.order("begin", name, "60000")


def local(peer, xid, database, *statements):
    return peer.order("local", xid, database.kind, *statements)


def refused(peer, xid, database, *statements):
    """Whether another transaction holds a row of these statements."""
    try:
        local(peer, xid, database, *statements)
    except Refused as refusal:
        if refusal.kind != "conflict":
            raise
        return True
    return False


def no_undo_rows(database, xid):
    eventually("the undo rows are gone", lambda: database.undo_rows(xid) == 0)


@at(selection=True)
def at_commit(scene, first, other, database):
    """The first decides over a branch of the other."""
    accounts = Accounts(database)
    xid = begin(first, "at-commit")
    equal("1,1,1", local(other, xid, database, *accounts.every_kind()), "rows changed")
    equal(1, database.undo_rows(xid), "undo rows after phase one")
    changed = accounts.rows()
    equal("Committed", first.order("commit", xid), "answer to commit")
    no_undo_rows(database, xid)
    equal(changed, accounts.rows(), "rows")
    equal("90.50", accounts.amount(0), "amount")


@at(selection=True)
def at_rollback(scene, first, other, database):
    accounts = Accounts(database)
    before = accounts.rows()
    xid = begin(first, "at-rollback")
    local(other, xid, database, *accounts.every_kind())
    if before == accounts.rows():
        raise AssertionError("phase one changed nothing")
    equal("Rollbacked", first.order("rollback", xid), "answer to rollback")
    equal(before, accounts.rows(), "rows")
    equal(0, database.undo_rows(xid), "undo rows")


@at(selection=True)
def at_both_commit(scene, first, other, database):
    """A branch of each language on the same database, on rows of their own."""
    accounts = Accounts(database)
    xid = begin(first, "at-both-commit")
    local(first, xid, database, accounts.pay(0, 1))
    local(other, xid, database, accounts.pay(1, 2))
    equal(2, database.undo_rows(xid), "undo rows after phase one")
    equal("Committed", first.order("commit", xid), "answer to commit")
    no_undo_rows(database, xid)
    equal(["99.50", "198.50"], [accounts.amount(0), accounts.amount(1)], "amounts")


@at(selection=True)
def at_both_rollback(scene, first, other, database):
    accounts = Accounts(database)
    before = accounts.rows()
    xid = begin(first, "at-both-rollback")
    local(first, xid, database, accounts.pay(0, 1))
    local(other, xid, database, accounts.pay(1, 2))
    equal("Rollbacked", first.order("rollback", xid), "answer to rollback")
    equal(before, accounts.rows(), "rows")
    equal(0, database.undo_rows(xid), "undo rows")


@at()
def at_same_row_rollback(scene, first, other, database):
    """Both change one row, one after the other and again: the last branch has to be undone first."""
    accounts = Accounts(database)
    before = accounts.rows()
    xid = begin(first, "at-same-row")
    for number, peer in enumerate((first, other, first, other)):
        local(peer, xid, database, accounts.pay(0, number + 1))
    equal("90.50", accounts.amount(0), "amount after phase one")
    equal("Rollbacked", first.order("rollback", xid), "answer to rollback")
    equal(before, accounts.rows(), "rows")


@at(selection=True)
def at_lock(scene, first, other, database):
    """A row of an undecided transaction is refused to the other language, and another row is not."""
    accounts = Accounts(database)
    holder = begin(first, "holder")
    waiting = begin(other, "waiting")
    local(first, holder, database, accounts.pay(0, 1))
    equal(True, refused(other, waiting, database, accounts.pay(0, 2)), "the held row is refused")
    equal(False, refused(other, waiting, database, accounts.pay(1, 2)), "another row is refused")
    equal("99.50", accounts.amount(0), "amount while the row is held")
    equal("Committed", first.order("commit", holder), "answer to commit")
    equal(False, refused(other, waiting, database, accounts.pay(0, 2)), "the row is refused after the commit")
    equal("Rollbacked", other.order("rollback", waiting), "answer to rollback")
    equal(["99.50", "200.50"], [accounts.amount(0), accounts.amount(1)], "amounts")


@at()
def at_select_for_update(scene, first, other, database):
    """A read for update sees no row of an undecided transaction."""
    accounts = Accounts(database)
    holder = begin(first, "holder")
    reader = begin(other, "reader")
    query = f"SELECT note FROM account WHERE id = {accounts.first + 1} FOR UPDATE"
    local(first, holder, database, accounts.pay(1))
    try:
        raise AssertionError(f"read {other.order('select', reader, database.kind, query)}")
    except Refused as refusal:
        equal("conflict", refusal.kind, "refusal")
    equal("Rollbacked", first.order("rollback", holder), "answer to rollback")
    equal("a", other.order("select", reader, database.kind, query), "note")
    other.order("rollback", reader)


@at()
def at_lock_keys(scene, first, other, database):
    """Both write the key of a row in the same words, whatever its type."""
    wrong = []
    for table, key, held, free in KEYS:
        if f" {table} " not in TABLES[database.kind] or "," in key and scene.one_column_keys(database):
            continue
        database.run(f"DELETE FROM {table}; INSERT INTO {table} ({key}, n) VALUES ({held}, 0), ({free}, 0);")
        holder = begin(first, "holder")
        waiting = begin(other, "waiting")
        local(first, holder, database, f"UPDATE {table} SET n = n + 1 WHERE ({key}) = ({held})")
        if not refused(other, waiting, database, f"UPDATE {table} SET n = n + 2 WHERE ({key}) = ({held})"):
            wrong.append(f"{table}: the held row was given away")
        if refused(other, waiting, database, f"UPDATE {table} SET n = n + 2 WHERE ({key}) = ({free})"):
            wrong.append(f"{table}: a free row was refused")
        first.order("rollback", holder)
        other.order("rollback", waiting)
    equal([], wrong, "keys")


@at()
def at_other_undoes(scene, first, other, database):
    """The process of two branches is killed; the other language rolls one back and ends the other."""
    chosen = columns.columns(database.kind, scene.name)
    accounts = Accounts(database)
    kept = begin(first, "kept")
    local(other, kept, database, *accounts.every_kind())
    changed = accounts.rows()
    undone_by_the_survivor(first, other, database, chosen)
    equal("Committed", first.order("commit", kept), "answer to commit")
    equal(changed, accounts.rows(), "rows of the committed branch")
    no_undo_rows(database, kept)


@at(databases=("postgres",))
def at_other_undoes_arrays(scene, first, other, database):
    undone_by_the_survivor(first, other, database, columns.POSTGRES_ARRAYS)


def undone_by_the_survivor(first, other, database, chosen):
    table = f"every_{next(NUMBERS)}"
    database.run(columns.table(database.kind, table, chosen))
    before = database.rows(table)
    xid = begin(first, "undone")
    local(other, xid, database, *columns.changes(table, chosen))
    if before == database.rows(table):
        raise AssertionError("phase one changed nothing")
    other.kill()
    equal("Rollbacked", first.order("rollback", xid), "answer to rollback")
    equal(before.split("\n"), database.rows(table).split("\n"), "rows")
    equal(0, database.undo_rows(xid), "undo rows")
