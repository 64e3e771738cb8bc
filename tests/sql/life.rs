//! Short transactions for tests of the store.

use seamio::proto::Text;
use seamio::proto::status::BranchType;
use seamio::tc::store::{Decision, NewBranch, NewGlobal, Operation, Urgency};
use seamio::xid::{BranchId, Xid};

/// Far ahead of the database's clock, so that nothing is overdue.
pub(crate) const NOW_MS: i64 = 9_000_000_000_000;

pub(crate) fn xid(id: i64) -> Xid {
    Xid::new("10.0.0.1:8091", id)
}

pub(crate) fn begin(xid: &Xid) -> Operation {
    begin_at(xid, NOW_MS, 60_000)
}

pub(crate) fn begin_at(xid: &Xid, begin_ms: i64, timeout_ms: i32) -> Operation {
    Operation::Begin(NewGlobal {
        xid: xid.clone(),
        application_id: Text::from("app"),
        transaction_service_group: Text::from("group"),
        name: Text::from("order"),
        timeout_ms,
        begin_ms,
    })
}

pub(crate) fn register(xid: &Xid, branch_id: i64, lock_key: &str) -> Operation {
    Operation::Register(NewBranch {
        xid: xid.clone(),
        branch_id: BranchId(branch_id),
        branch_type: BranchType::At,
        resource_id: Text::from("jdbc:mysql://a/db"),
        client_id: Text::from("app:10.0.0.7:40000"),
        application_data: Text::from("{}"),
        lock_key: Text::from(lock_key),
        now_ms: NOW_MS,
    })
}

pub(crate) fn decide(xid: &Xid, decision: Decision) -> Operation {
    Operation::Decide {
        xid: xid.clone(),
        decision,
        now_ms: NOW_MS,
    }
}

pub(crate) fn end_branch(xid: &Xid, branch_id: i64) -> Operation {
    Operation::EndBranch {
        xid: xid.clone(),
        branch_id: BranchId(branch_id),
        urgency: Urgency::Now,
        now_ms: NOW_MS,
    }
}

pub(crate) fn look_up(xid: &Xid) -> Operation {
    Operation::LookUp {
        xid: xid.clone(),
        now_ms: NOW_MS,
    }
}

/// For what has no event to wait for: a database that comes back, something that is not to happen.
#[allow(clippy::disallowed_methods)]
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}
