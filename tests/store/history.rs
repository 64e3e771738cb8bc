//! Random histories of operations: few resources and rows, so that they meet; ids that repeat now and then; time that
//! passes.

use seamio::proto::Text;
use seamio::proto::status::{BranchStatus, BranchType, GlobalStatus};
use seamio::tc::store::{
    Decision, End, NewBranch, NewGlobal, Operation, Outcome, StoreLimits, Urgency,
};
use seamio::xid::{BranchId, Xid};

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

pub(crate) struct History {
    pub(crate) random: Random,
    now_ms: i64,
    next_id: i64,
    /// Xids and the branches registered in them.
    known: Vec<(Xid, Vec<BranchId>)>,
    /// Some that ended or were lost.
    ended: Vec<Xid>,
}

pub(crate) fn limits() -> StoreLimits {
    StoreLimits {
        globals_max: 12,
        branches_per_global_max: 5,
        locks_max: 40,
        tombstones_max: 9,
        application_data_bytes_max: 64,
        lock_key_bytes_max: 256,
        text_bytes_max: 64,
    }
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            now_ms: 1_700_000_000_000,
            next_id: 100,
            known: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// The same, with ids that no other history gives.
    pub(crate) fn apart(seed: u64) -> Self {
        Self {
            next_id: 1_000_000,
            ..Self::new(seed)
        }
    }

    /// Learns what an operation led to, so that later ones speak of what is there.
    pub(crate) fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        match (operation, outcome) {
            (Operation::Begin(new), Outcome::Done) => {
                self.known.push((new.xid.clone(), Vec::new()));
            }
            (Operation::Register(new), Outcome::Done) => {
                let known = self.known.iter_mut().find(|(xid, _)| *xid == new.xid);
                known.expect("it was begun").1.push(new.branch_id);
            }
            (
                Operation::Decide { xid, .. }
                | Operation::EndBranch { xid, .. }
                | Operation::Finish { xid, .. },
                Outcome::Finished(_),
            ) => {
                self.known.retain(|(known, _)| known != xid);
                self.ended.push(xid.clone());
                if self.ended.len() > 12 {
                    self.ended.remove(0);
                }
            }
            _ => {}
        }
    }

    /// After a crash only these are there.
    pub(crate) fn keep_only(&mut self, live: &[Xid]) {
        let (known, lost) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|(xid, _)| live.contains(xid));
        self.known = known;
        self.ended.extend(lost.into_iter().map(|(xid, _)| xid));
        for xid in live {
            if !self.known.iter().any(|(known, _)| known == xid) {
                self.known.push((xid.clone(), Vec::new()));
            }
        }
    }

    pub(crate) fn next(&mut self) -> Operation {
        self.now_ms += self.random.below(40) as i64;
        if self.random.chance(2) {
            self.now_ms += 2000;
        }
        let now_ms = self.now_ms;
        if self.known.is_empty() || self.random.chance(18) {
            return self.begin();
        }
        let xid = self.xid();
        match self.random.below(100) {
            0..34 => self.register(xid),
            34..42 => Operation::Report {
                branch_id: self.branch(&xid),
                status: self.random.pick(BranchStatus::ALL),
                application_data: self.text(&["", " ", "{\"a\":1}", "é"]),
                xid,
                now_ms,
            },
            42..55 => Operation::Decide {
                decision: self.random.pick(&[
                    Decision::Commit,
                    Decision::Commit,
                    Decision::Rollback,
                    Decision::Timeout,
                ]),
                xid,
                now_ms,
            },
            55..72 => Operation::EndBranch {
                branch_id: self.branch(&xid),
                xid,
                urgency: Urgency::Now,
                now_ms,
            },
            72..76 => Operation::SetStatus {
                from: self.random.pick(GlobalStatus::ALL),
                to: self.random.pick(GlobalStatus::ALL),
                xid,
                now_ms,
            },
            76..84 => Operation::Finish {
                end: self.random.pick(&[
                    End::Committed,
                    End::RolledBack,
                    End::TimedOut,
                    End::Finished,
                ]),
                xid,
                now_ms,
            },
            84..86 => Operation::ReleaseLocks { xid },
            86..90 => Operation::LookUp { xid, now_ms },
            90..92 => Operation::Fetch {
                branch_id: self.random.chance(50).then(|| self.branch(&xid)),
                xid,
                now_ms,
            },
            92..98 => Operation::QueryLocks {
                xid: match self.random.chance(30) {
                    true => Text::new(),
                    false => xid.as_text().clone(),
                },
                resource_id: self.text(RESOURCES),
                lock_key: self.lock_key(),
                now_ms,
            },
            _ => Operation::Forget {
                before_ms: now_ms - self.random.below(4000) as i64,
            },
        }
    }

    /// A status that the transaction may well have.
    pub(crate) fn likely_status_set(&mut self, xid: Xid, from: GlobalStatus) -> Operation {
        Operation::SetStatus {
            xid,
            from,
            to: self.random.pick(GlobalStatus::ALL),
            now_ms: self.now_ms,
        }
    }

    fn begin(&mut self) -> Operation {
        let xid = match self.random.chance(4) && !self.known.is_empty() {
            true => self.xid(),
            false => Xid::new(
                self.random.pick(&["10.0.0.1:8091", "fe80::1:8091"]),
                self.id(),
            ),
        };
        Operation::Begin(NewGlobal {
            xid,
            application_id: self.text(&["app", "app-2", ""]),
            transaction_service_group: self.text(&["group", "组"]),
            name: self.text(&["", "order", "$Saga_x", "a-name"]),
            timeout_ms: self.random.pick(&[60_000, 60_000, 60_000, 900, 0]),
            begin_ms: self.now_ms,
        })
    }

    fn register(&mut self, xid: Xid) -> Operation {
        let branch_id = match self.random.chance(3) {
            true => self.branch(&xid),
            false => BranchId(self.id()),
        };
        let types = [
            BranchType::At,
            BranchType::At,
            BranchType::At,
            BranchType::Tcc,
            BranchType::Saga,
            BranchType::Xa,
        ];
        let mut application_data = self.text(&["", "{}", "{\"autoCommit\":false}"]);
        if self.random.chance(2) {
            application_data = Text::from("x".repeat(65));
        }
        Operation::Register(NewBranch {
            xid,
            branch_id,
            branch_type: self.random.pick(&types),
            resource_id: self.text(RESOURCES),
            client_id: self.text(&["app:10.0.0.7:40000", "app:10.0.0.8:40001"]),
            application_data,
            lock_key: self.lock_key(),
            now_ms: self.now_ms,
        })
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1 + self.random.below(3) as i64;
        self.next_id
    }

    fn xid(&mut self) -> Xid {
        if self.random.chance(3) {
            // Another address with a number that is perhaps known, or nothing at all.
            let number = 100 + self.random.below(200) as i64;
            return Xid::new("10.0.0.9:8091", number);
        }
        if self.random.chance(12) && !self.ended.is_empty() {
            return self.ended[self.random.below(self.ended.len())].clone();
        }
        // Mostly a young one.
        let count = self.known.len();
        let mut back = self.random.below(count);
        if self.random.chance(50) {
            back = back.min(self.random.below(count));
        }
        self.known[count - 1 - back].0.clone()
    }

    fn branch(&mut self, xid: &Xid) -> BranchId {
        let known = self.known.iter().find(|(known, _)| known == xid);
        match known.filter(|(_, branches)| !branches.is_empty()) {
            Some((_, branches)) => branches[self.random.below(branches.len())],
            None => BranchId(7),
        }
    }

    fn lock_key(&mut self) -> Text {
        let mut key = String::new();
        for _ in 0..self.random.below(3) {
            key.push_str(self.random.pick(&["t", "orders", "表"]));
            key.push(':');
            for pk in 0..1 + self.random.below(4) {
                if pk > 0 {
                    key.push(',');
                }
                key.push_str(self.random.pick(&["1", "2", "3", "4", "5_a", "x:y", "é"]));
            }
            if self.random.chance(10) {
                key.push_str(", ");
            }
            key.push(';');
        }
        if self.random.chance(70) && key.ends_with(';') {
            key.pop();
        }
        Text::from(key)
    }

    fn text(&mut self, from: &[&'static str]) -> Text {
        Text::from(self.random.pick(from))
    }
}

const RESOURCES: &[&str] = &["jdbc:mysql://a/db", "jdbc:mysql://b/db"];
