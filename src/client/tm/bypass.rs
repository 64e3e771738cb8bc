//! When transactions are not begun although code asks for one: switched off, or after too many failures (client.md 1.6).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use super::TxOptions;
use crate::client::seata::Inner;
use crate::client::{GlobalTransactions, Seata};

/// When too many failures bypass global transactions, and what brings them back.
///
/// Bypassed code runs without any transaction: consistency is given up for availability. Off unless it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DegradeCheck {
    /// `client.tm.degradeCheckPeriod`: how often a probe transaction is begun and committed. Default 2 s.
    pub period: Duration,
    /// `client.tm.degradeCheckAllowTimes`: failures in a row that bypass, and successes in a row that end it. Default 10; 0
    /// counts as 1.
    pub allow_times: u32,
}

impl Default for DegradeCheck {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(2),
            allow_times: 10,
        }
    }
}

/// Whether code that asks for a transaction gets one.
#[derive(Debug)]
pub(in crate::client) struct Bypass {
    off: AtomicBool,
    degrade: Option<(DegradeCheck, Mutex<Streak>)>,
}

/// Failures or successes in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streak {
    degraded: bool,
    count: u32,
}

impl Streak {
    /// Takes note of a transaction that began and ended, or did not.
    fn note(&mut self, succeeded: bool, allow_times: u32) {
        // What speaks for a change counts; the other starts again.
        if succeeded != self.degraded {
            self.count = 0;
            return;
        }
        self.count += 1;
        if self.count >= allow_times.max(1) {
            self.degraded = !self.degraded;
            self.count = 0;
            match self.degraded {
                true => log::error!("event=degraded: code runs without global transactions"),
                false => log::warn!("event=degrade-ended: code runs in global transactions again"),
            }
        }
    }
}

impl Bypass {
    pub(in crate::client) fn new(first: GlobalTransactions, check: Option<DegradeCheck>) -> Self {
        Self {
            off: AtomicBool::new(first == GlobalTransactions::Off),
            degrade: check.map(|check| (check, Mutex::default())),
        }
    }

    pub(in crate::client) fn switch(&self, to: GlobalTransactions) {
        let off = to == GlobalTransactions::Off;
        self.off.store(off, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        let degraded = || match &self.degrade {
            Some((_, streak)) => {
                streak
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .degraded
            }
            None => false,
        };
        self.off.load(Ordering::Relaxed) || degraded()
    }

    /// A coordinator took a begin or an end.
    pub(super) fn succeeded(&self) {
        self.note(true);
    }

    /// A coordinator could not be asked, or failed.
    pub(super) fn failed(&self) {
        self.note(false);
    }

    fn note(&self, succeeded: bool) {
        if let Some((check, streak)) = &self.degrade {
            let mut streak = streak.lock().unwrap_or_else(PoisonError::into_inner);
            streak.note(succeeded, check.allow_times);
        }
    }
}

/// Begins and commits a transaction every now and then, as long as the client lives.
pub(in crate::client) async fn probe(seata: Weak<Inner>, check: DegradeCheck) {
    loop {
        let Some(inner) = seata.upgrade() else {
            return;
        };
        let pause = Seata { inner }.rm().sleep(check.period);
        pause.await;
        let Some(inner) = seata.upgrade() else {
            return;
        };
        let seata = Seata { inner };
        if !seata.inner.handle.is_alive() {
            return;
        }
        let succeeded = match seata.begin(TxOptions::new(PROBE_NAME)).await {
            Ok(tx) => tx.commit().await.is_committed(),
            Err(_) => false,
        };
        match succeeded {
            true => seata.inner.bypass.succeeded(),
            false => seata.inner.bypass.failed(),
        }
    }
}

/// As Java names it.
const PROBE_NAME: &str = "degradeCheck";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_failures_in_a_row_bypass_as_successes_end_it() {
        let check = DegradeCheck {
            allow_times: 3,
            ..DegradeCheck::default()
        };
        let bypass = Bypass::new(GlobalTransactions::On, Some(check));
        bypass.failed();
        bypass.failed();
        bypass.succeeded();
        bypass.failed();
        bypass.failed();
        assert!(!bypass.is_on(), "never three in a row");
        bypass.failed();
        assert!(bypass.is_on());
        bypass.succeeded();
        bypass.succeeded();
        bypass.failed();
        bypass.succeeded();
        bypass.succeeded();
        assert!(bypass.is_on());
        bypass.succeeded();
        assert!(!bypass.is_on());
    }

    #[test]
    fn the_switch_works_while_it_runs() {
        let bypass = Bypass::new(GlobalTransactions::On, None);
        bypass.failed();
        assert!(!bypass.is_on());
        bypass.switch(GlobalTransactions::Off);
        assert!(bypass.is_on());
        bypass.switch(GlobalTransactions::On);
        assert!(!bypass.is_on());
    }
}
