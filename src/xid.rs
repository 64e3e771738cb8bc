//! Transaction ids: format, parsing, and the generator of transaction and branch ids.
//!
//! An xid is `<address>:<port>:<transaction id>`; the decimal number after the last `:` is the transaction id, so IPv6
//! addresses work (coordinator.md 1.1). The generator follows coordinator.md 4.6: one bit 0, 10 bits node, 41 bits
//! time in ms since 2020-05-03T00:00:00+08:00 (read once, at start), 12 bits sequence; time and sequence are one
//! counter, so ids of one node only grow. The clock is passed in.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::proto::Text;

/// A global transaction id as text, known to end in a decimal number.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Xid {
    text: Text,
    id: i64,
}

/// The number first: it nearly always tells.
impl PartialEq for Xid {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.text.as_bytes() == other.text.as_bytes()
    }
}

/// By the number alone, which only clients that make xids up can make collide; those they make up are never kept for long.
impl Hash for Xid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Xid {
    /// Parses the text a client sent. None when it does not end in `:` and a positive decimal number: such an xid is
    /// simply unknown.
    pub fn parse(text: &Text) -> Option<Self> {
        let (address, number) = text.rsplit_once(':')?;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let id = number.parse::<i64>().ok().filter(|id| digits && *id > 0)?;
        (!address.is_empty()).then(|| Self {
            text: text.clone(),
            id,
        })
    }

    /// The xid of a new transaction at the coordinator that clients know as `advertised` (`host:port`).
    pub fn new(advertised: &str, transaction_id: i64) -> Self {
        Self {
            text: Text::from(format!("{advertised}:{transaction_id}")),
            id: transaction_id,
        }
    }

    /// The number after the last colon.
    pub fn transaction_id(&self) -> i64 {
        self.id
    }

    /// The whole text.
    pub fn as_text(&self) -> &Text {
        &self.text
    }

    /// A copy that shares no buffer with the frame it was read from.
    pub fn detached(&self) -> Self {
        Self {
            text: self.text.detached(),
            id: self.id,
        }
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Identifies a branch; -1 stands for the one call of a SAGA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId(pub i64);

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Gives out transaction and branch ids. Never repeats one, whatever the clock does, as long as the highest id ever
/// given out is handed to [`IdGenerator::not_below`] after a restart.
#[derive(Clone, Debug)]
pub struct IdGenerator {
    node: u16,
    counter: u64,
}

impl IdGenerator {
    /// A generator for `node` (0 to [`NODE_MAX`]) that starts at the wall clock `now_ms` (ms since 1970).
    pub fn new(node: u16, now_ms: i64) -> Self {
        assert!(node <= NODE_MAX, "node id {node} is above {NODE_MAX}");
        let ms = u64::try_from(now_ms - EPOCH_MS).unwrap_or(0);
        Self {
            node,
            counter: (ms << SEQUENCE_BITS) & COUNTER_MASK,
        }
    }

    /// Every later id was made later than `id` as [`later_made`] sees it, whatever node made `id`: of all the ids that a
    /// store has seen one is remembered, and the node may have been changed and changed back.
    pub fn not_below(&mut self, id: i64) {
        self.counter = self.counter.max(id as u64 & COUNTER_MASK);
    }

    /// The next id: positive, greater than every earlier one of this node.
    pub fn next_id(&mut self) -> i64 {
        self.counter = (self.counter + 1) & COUNTER_MASK;
        ((u64::from(self.node) << COUNTER_BITS) | self.counter) as i64
    }

    /// The node.
    pub fn node(&self) -> u16 {
        self.node
    }
}

/// Of two ids the one whose time and sequence are greater, whatever their nodes.
pub fn later_made(one: i64, other: i64) -> i64 {
    let counter = |id: i64| id as u64 & COUNTER_MASK;
    match counter(one) < counter(other) {
        true => other,
        false => one,
    }
}

/// The node that made an id.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn node_of(id: i64) -> u16 {
    (id as u64 >> COUNTER_BITS) as u16 & NODE_MAX
}

/// The greatest node id.
pub const NODE_MAX: u16 = 1023;
/// 2020-05-03T00:00:00+08:00, in ms since 1970.
const EPOCH_MS: i64 = 1_588_435_200_000;
const SEQUENCE_BITS: u32 = 12;
const COUNTER_BITS: u32 = 53;
const COUNTER_MASK: u64 = (1 << COUNTER_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_number_after_the_last_colon() {
        for (text, id) in [
            ("192.168.0.1:8091:42", 42),
            ("fe80::1:8091:7", 7),
            ("h:8091:9223372036854775807", i64::MAX),
        ] {
            assert_eq!(
                Xid::parse(&Text::from(text)).expect(text).transaction_id(),
                id
            );
        }
        for text in [
            "",
            "x",
            "a:b",
            "h:1:",
            "h:1:-5",
            "h:1:+5",
            "h:1:0",
            "h:1:9223372036854775808",
            ":5",
        ] {
            assert!(Xid::parse(&Text::from(text)).is_none(), "{text} is no xid");
        }
    }

    #[test]
    fn ids_grow_and_survive_a_clock_that_went_back() {
        let mut ids = IdGenerator::new(3, EPOCH_MS + 1000);
        let first = ids.next_id();
        assert!(ids.next_id() > first);
        assert_eq!(first >> COUNTER_BITS, 3);
        let mut later = IdGenerator::new(3, EPOCH_MS);
        later.not_below(first);
        assert!(later.next_id() > first);
    }

    #[test]
    fn ids_do_not_repeat_after_the_node_was_changed_and_changed_back() {
        let mut highest = 0;
        let mut given = std::collections::BTreeSet::new();
        for (node, started_ms) in [(5, 1000), (3, 2000), (3, 1500), (5, 900), (3, 0)] {
            let mut ids = IdGenerator::new(node, EPOCH_MS + started_ms);
            ids.not_below(highest);
            for _ in 0..3 {
                let id = ids.next_id();
                assert!(given.insert(id), "{id} was given out before");
                highest = later_made(highest, id);
            }
        }
    }
}
