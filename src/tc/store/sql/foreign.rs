//! Java coordinators on the same tables: whether they may be there, and what they leave behind (coordinator.md 4.8, 10.1 A1).
//!
//! - Whose address stands in the tables is asked for its version. One before 2.0 ends a start; later it keeps transactions
//!   from beginning, until it is gone. A question is never waited for but at the start, before there is a lease.
//! - A Java coordinator decides, and its loops carry on; when it is gone, nobody does. What has not moved for some seconds
//!   is claimed by a row in `seamio_decision`. Should it be alive after all, a branch may be called by both, in the same
//!   direction: its updates compare the status since 2.0.
//! - Its registration looks at the status, takes the locks and keeps the branch in three steps. A branch may so come
//!   behind the end of its transaction. The transaction is brought back in the status it ended with, and ends again
//!   when the branch has been told.

use std::collections::HashMap;
use std::time::Duration;

use super::connection::{Fault, Link, Rows};
use super::dialect::Dialect;
use super::inquiry::Inquiries;
use super::keeper::{Keeper, STEP, now, xids};
use super::neighbours::{Change, Neighbours};
use super::reading::{Columns, list};
use super::{JavaCoordinators, SqlConfig};
use crate::proto::status::GlobalStatus;
use crate::tc::store::StoreEvent;
use crate::xid::Xid;

/// Who the others are, and the questions to them.
#[derive(Debug)]
pub(super) struct Watch {
    neighbours: Neighbours,
    inquiries: Inquiries,
}

/// The transactions that show who is at work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Witnesses {
    /// All there are.
    All,
    /// The undecided ones that came last: enough to see who begins some, however many there are.
    Newest,
}

/// What shows who else is at work: addresses in xids of transactions, with the time the newest one began; owners of Java's
/// loops, with the time until which each has one; and siblings that are alive.
pub(super) fn others(dialect: Dialect, witnesses: Witnesses) -> String {
    let address = dialect.address_of_xid();
    let clock = dialect.clock_ms();
    let transactions = match witnesses {
        Witnesses::All => "global_table".to_owned(),
        Witnesses::Newest => format!(
            "(SELECT xid, transaction_id, begin_time FROM global_table WHERE status = 1 \
             ORDER BY gmt_modified DESC LIMIT {NEWEST}) newest"
        ),
    };
    format!(
        "SELECT {address}, MAX(begin_time) FROM {transactions} GROUP BY 1; \
         SELECT lock_value, expire FROM distributed_lock WHERE expire > 0; \
         SELECT address, 0 FROM seamio_node WHERE lease_until >= {clock}"
    )
}

impl Watch {
    /// Looks for those whose addresses are in the tables, and asks them.
    pub(super) async fn begin(link: &mut Link, config: &SqlConfig) -> Result<Self, String> {
        let mut watch = Self {
            neighbours: Neighbours::default(),
            inquiries: Inquiries::new(),
        };
        let results = link.run(&others(link.dialect(), Witnesses::All)).await;
        let results = results.map_err(|fault| fault.text().to_owned())?;
        watch.look(&config.address, &[], &results);
        let began = now();
        while !watch.neighbours.are_known() && began.elapsed() < START_WITHIN {
            for change in watch.ask() {
                if let Change::Came(found) = change {
                    return Err(format!(
                        "{found}. Stop it and start again: what it leaves goes on here. The manual's page \"migrating\" \
                         has the steps for versions before 2.0"
                    ));
                }
            }
            tokio::time::sleep(STEP).await;
        }
        Ok(watch)
    }

    fn look(&mut self, own: &str, decided: &[Vec<Option<String>>], results: &[Rows]) {
        let now = now();
        let rows = |at: usize| results.get(at).map_or(&[][..], |rows| &rows.rows[..]);
        let alive = rows(2).iter().map(|row| Columns(row).text(0).to_owned());
        self.neighbours.know_siblings(alive.chain([own.to_owned()]));
        for row in rows(0).iter().chain(rows(1)) {
            let row = Columns(row);
            let sign_ms = row.number(1).unwrap_or(0);
            self.neighbours.saw(now, row.text(0).trim(), sign_ms);
        }
        for row in decided {
            let row = Columns(row);
            if let Some((address, _)) = row.text(0).rsplit_once(':') {
                let sign_ms = row.number(2).unwrap_or(0);
                self.neighbours.saw(now, address, sign_ms);
            }
        }
    }

    /// Takes the answers that have come, and asks whoever is due.
    fn ask(&mut self) -> Vec<Change> {
        let now = now();
        let mut changes = Vec::new();
        while let Some((address, reply)) = self.inquiries.poll() {
            changes.extend(self.neighbours.answered(now, &address, reply));
        }
        for address in self.neighbours.due(now, self.inquiries.room()) {
            self.inquiries.ask(address);
        }
        changes
    }

    /// Whether a transaction may be decided or driven here: not when it is of a coordinator that may be too old.
    pub(super) fn may_touch(&self, xid: &Xid) -> bool {
        let address = xid.as_text().rsplit_once(':').map_or("", |(a, _)| a);
        !self.neighbours.may_be_too_old(address)
    }
}

impl Keeper {
    /// Looks who else is at work, and bars begins while one of them is too old. Blocks for nothing.
    pub(super) fn look_around(&mut self, decided: &[Vec<Option<String>>], results: &[Rows]) {
        let config = &self.hub.config;
        self.watch.look(&config.address, decided, results);
        let changes = self.watch.ask();
        for change in &changes {
            match change {
                Change::Came(found) => log::error!(
                    "event=java_too_old address={} version={}: no transaction begins here until it has been stopped",
                    found.address,
                    found.version.escape_debug()
                ),
                Change::Went(address) => log::warn!("event=java_too_old_gone address={address}"),
            }
        }
        if !changes.is_empty() {
            let reason = self.watch.neighbours.too_old();
            if reason.is_none() {
                log::info!("event=begins_accepted");
            }
            let reason = reason.map(|found| found.to_string());
            self.hub.tell(StoreEvent::Barred(reason));
        }
    }

    /// Claims what Java coordinators decided and did not finish.
    pub(super) async fn claim_foreign(
        &mut self,
        rows: &[Vec<Option<String>>],
    ) -> Result<(), Fault> {
        if self.watch.neighbours.too_old().is_some() {
            self.foreign.clear();
            return Ok(());
        }
        let mut seen = HashMap::new();
        let mut ripe = Vec::new();
        let beside = self.hub.config.java == JavaCoordinators::Beside;
        for row in rows {
            let row = Columns(row);
            let xid = row.xid(0).map_err(Fault::Refused)?;
            let status = row.number(1).map_err(Fault::Refused)?;
            let status = u8::try_from(status)
                .ok()
                .and_then(GlobalStatus::from_code)
                .unwrap_or(GlobalStatus::Unknown);
            let since = match self.foreign.get(&xid) {
                Some((same, since)) if *same == status => *since,
                _ => now(),
            };
            let waited = !beside || since.elapsed() >= patience(status);
            if waited && self.watch.may_touch(&xid) {
                ripe.push(xid);
            } else {
                seen.insert(xid, (status, since));
            }
        }
        self.foreign = seen;
        if ripe.is_empty() {
            return Ok(());
        }
        let (dialect, node) = (self.hub.config.url.dialect(), self.place.node);
        let texts = list(dialect, ripe.iter().map(|xid| xid.as_text().as_str()));
        let modified = dialect.time_ms("g.gmt_modified");
        let (ignore, nothing) = match dialect {
            Dialect::MySql => (" IGNORE", ""),
            Dialect::Postgres => ("", " ON CONFLICT DO NOTHING"),
            Dialect::Sqlite => (" OR IGNORE", ""),
        };
        let sql = format!(
            "{}; INSERT{ignore} INTO seamio_decision (xid, transaction_id, decided_ms, saga, driver) \
             SELECT g.xid, g.transaction_id, {modified}, 0, {node} FROM global_table g WHERE g.xid IN ({texts}) \
             AND g.status <> 1{nothing}; \
             SELECT xid FROM seamio_decision WHERE xid IN ({texts}) AND driver = {node}; COMMIT",
            dialect.begin()
        );
        let results = self.in_transaction(&sql).await?;
        let ours = xids(results.get(2).map_or(&[], |rows| &rows.rows))?;
        log::info!("event=taken_from_java transactions={}", ours.len());
        self.adopt(&ours).await
    }

    /// Transactions that a branch has been added to behind their end.
    pub(super) async fn bring_back(&mut self) -> Result<(), Fault> {
        let (dialect, node) = (self.hub.config.url.dialect(), self.place.node);
        let sql = format!(
            "SELECT DISTINCT b.xid FROM branch_table b JOIN seamio_ended e ON e.xid = b.xid \
             LEFT JOIN global_table g ON g.xid = b.xid WHERE g.xid IS NULL LIMIT {AT_ONCE}"
        );
        let results = self.link()?.run(&sql).await?;
        let late = xids(results.first().map_or(&[], |rows| &rows.rows))?;
        if late.is_empty() {
            return Ok(());
        }
        let texts = list(dialect, late.iter().map(|xid| xid.as_text().as_str()));
        let now = dialect.now_in_seconds();
        // The number of an end is that of the status.
        let sql = format!(
            "{}; INSERT INTO global_table (xid, transaction_id, status, application_id, transaction_service_group, \
             transaction_name, timeout, begin_time, gmt_create, gmt_modified) SELECT e.xid, e.transaction_id, e.outcome, \
             '', '', '', 0, e.decided_ms, {now}, {now} FROM seamio_ended e WHERE e.xid IN ({texts}); \
             INSERT INTO seamio_decision (xid, transaction_id, decided_ms, saga, driver) SELECT e.xid, \
             e.transaction_id, e.decided_ms, 0, {node} FROM seamio_ended e WHERE e.xid IN ({texts}); \
             DELETE FROM seamio_ended WHERE xid IN ({texts}); COMMIT",
            dialect.begin()
        );
        match self.in_transaction(&sql).await {
            Ok(_) => {}
            // A sibling was quicker.
            Err(Fault::Duplicate(_)) => return Ok(()),
            Err(fault) => return Err(fault),
        }
        for xid in &late {
            log::warn!(
                "xid={xid} event=brought_back: a Java coordinator added a branch behind its end"
            );
        }
        self.adopt(&late).await
    }
}

/// How long a Java coordinator is left alone with what it decided: it may be at work on it in a client's request, or
/// its loops come to it.
fn patience(status: GlobalStatus) -> Duration {
    use GlobalStatus::*;
    match status {
        Committing | Rollbacking => Duration::from_secs(20),
        _ => Duration::from_secs(5),
    }
}

/// A start waits so long for answers. Coordinators that answer do so at once.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Transactions whose coordinators are looked at, every second.
const NEWEST: usize = 500;
/// Transactions brought back at once.
const AT_ONCE: usize = 500;
