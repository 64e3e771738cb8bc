//! What a resident store accepts. Meeting a limit answers [`Outcome::Limit`](super::Outcome::Limit) with its name.

/// Limits of a resident store (memory, journal). None of them is unbounded; the defaults fit a process of a few GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Live global transactions.
    pub globals_max: usize,
    /// Branches of one transaction.
    pub branches_per_global_max: usize,
    /// Locked rows. A registration counts the rows it lists, also those its transaction holds already.
    pub locks_max: usize,
    /// Tombstones; above it the oldest go before their time.
    pub tombstones_max: usize,
    /// UTF-8 bytes of the application data of a branch.
    pub application_data_bytes_max: usize,
    /// UTF-8 bytes of a lock key.
    pub lock_key_bytes_max: usize,
    /// UTF-8 bytes of every other text: xid, application, group, name, resource, client.
    pub text_bytes_max: usize,
}

impl StoreLimits {
    /// An upper bound of one change as the journal writes it.
    pub(crate) fn change_bytes_max(&self) -> usize {
        self.application_data_bytes_max + self.lock_key_bytes_max + 4 * self.text_bytes_max + 256
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            globals_max: 1_000_000,
            branches_per_global_max: 10_000,
            locks_max: 10_000_000,
            tombstones_max: 500_000,
            application_data_bytes_max: 64_000,
            lock_key_bytes_max: 1 << 20,
            text_bytes_max: 16 << 10,
        }
    }
}
