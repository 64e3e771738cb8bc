"""TCC scenarios: the phases of an action run in the process that tried it, whoever decided."""

from scene import equal, scenario


@scenario("tcc", selection=True)
def tcc_commit(scene, first, other):
    """The first begins and commits, the other has the branch."""
    xid = first.order("begin", "tcc-commit", "60000")
    other.order("try", xid, "pear", "3")
    equal("Committed", first.order("commit", xid), "answer to commit")
    equal([("try", "pear", "3"), ("confirm", "pear", "3")], other.await_phases(xid, 2), "phases")
    equal([], first.phases(xid), "phases at the launcher")


@scenario("tcc", selection=True)
def tcc_rollback(scene, first, other):
    xid = first.order("begin", "tcc-rollback", "60000")
    other.order("try", xid, "plum", "4")
    equal("Rollbacked", first.order("rollback", xid), "answer to rollback")
    equal([("try", "plum", "4"), ("cancel", "plum", "4")], other.await_phases(xid, 2), "phases")


@scenario("tcc", selection=True)
def tcc_both_commit(scene, first, other):
    """A branch on each side."""
    xid = first.order("begin", "tcc-both-commit", "60000")
    first.order("try", xid, "fig", "1")
    other.order("try", xid, "quince 你😀", "9007199254740993")
    equal("Committed", first.order("commit", xid), "answer to commit")
    equal([("try", "fig", "1"), ("confirm", "fig", "1")], first.await_phases(xid, 2), "phases of the launcher")
    quantity = "9007199254740993"
    equal([("try", "quince 你😀", quantity), ("confirm", "quince 你😀", quantity)], other.await_phases(xid, 2), "phases of the other")


@scenario("tcc", selection=True)
def tcc_both_rollback(scene, first, other):
    xid = first.order("begin", "tcc-both-rollback", "60000")
    first.order("try", xid, "fig", "1")
    other.order("try", xid, "date", "2")
    first.order("try", xid, "lime", "3")
    equal("Rollbacked", first.order("rollback", xid), "answer to rollback")
    cancelled = sorted(call for call in first.await_phases(xid, 4) if call[0] == "cancel")
    equal([("cancel", "fig", "1"), ("cancel", "lime", "3")], cancelled, "cancelled at the launcher")
    equal([("try", "date", "2"), ("cancel", "date", "2")], other.await_phases(xid, 2), "phases of the other")
