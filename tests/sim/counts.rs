//! What happened in a run, in numbers.

/// What happened, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) begun: u64,
    pub(crate) told_commit: u64,
    pub(crate) told_rollback: u64,
    pub(crate) calls: u64,
    pub(crate) registered: u64,
    pub(crate) conflicts: u64,
    pub(crate) recoveries: u64,
    /// Of several coordinators: nodes taken over, transactions adopted from them, offered, and taken from an offer.
    pub(crate) takeovers: u64,
    pub(crate) adopted: u64,
    pub(crate) offered: u64,
    pub(crate) taken: u64,
}

impl Counts {
    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.told_commit += other.told_commit;
        self.told_rollback += other.told_rollback;
        self.calls += other.calls;
        self.registered += other.registered;
        self.conflicts += other.conflicts;
        self.recoveries += other.recoveries;
        self.takeovers += other.takeovers;
        self.adopted += other.adopted;
        self.offered += other.offered;
        self.taken += other.taken;
    }
}
