//! Identities handed to applications: small, copyable, never reused within a reactor.

use std::fmt;

/// A session of one reactor: slot and generation. Copyable, so that a message can carry it between threads for free;
/// it goes stale with its session and is never given to another one of the same reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// The id as a number, for maps and logs.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id behind a number that [`SessionId::as_u64`] gave. Any other number is a stale id.
    pub const fn from_u64(number: u64) -> Self {
        SessionId(number)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 as u32, self.0 >> 32)
    }
}

/// A lane: its index, below [`crate::net::Workers::lanes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub usize);

/// A listening socket of one reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(crate) u64);

/// A connector of one reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectorId(pub(crate) u64);
