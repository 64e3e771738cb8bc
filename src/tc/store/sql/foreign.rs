//! What Java coordinators on the same tables leave behind (coordinator.md 4.8, 10.1 A1).
//!
//! - A Java coordinator decides, and its loops carry on; when it is gone, nobody does. What has not moved for some seconds
//!   is claimed by a row in `seamio_decision`. Should it be alive after all, a branch may be called by both, in the same
//!   direction: its updates compare the status since 2.0.
//! - Its registration looks at the status, takes the locks and keeps the branch in three steps. A branch may so come
//!   behind the end of its transaction. The transaction is brought back in the status it ended with, and ends again
//!   when the branch has been told.

use std::collections::HashMap;
use std::time::Duration;

use super::JavaCoordinators;
use super::connection::Fault;
use super::dialect::Dialect;
use super::keeper::{Keeper, now, xids};
use super::reading::{Columns, list};
use crate::proto::status::GlobalStatus;

impl Keeper {
    /// Claims what Java coordinators decided and did not finish.
    pub(super) async fn claim_foreign(
        &mut self,
        rows: &[Vec<Option<String>>],
    ) -> Result<(), Fault> {
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
            if !beside || since.elapsed() >= patience(status) {
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

/// Transactions brought back at once.
const AT_ONCE: usize = 500;
