//! Requests that share a message, and how their answers find back (client.md 1.4, wire.md 6.6).
//!
//! A coordinator answers a merged message in one of three ways: with one message by position, with one or more messages
//! that carry ids, or with a plain answer to each request. All three may come from one list of coordinators.

use std::collections::BTreeMap;

use crate::net::SessionId;
use crate::proto::message::{BranchRegister, Message};

/// Merged messages whose answers have not all come.
#[derive(Debug, Default)]
pub(super) struct Merges {
    open: BTreeMap<i32, Merge>,
}

#[derive(Debug)]
struct Merge {
    session: SessionId,
    /// In the order of the message.
    ids: Vec<i32>,
    /// How many of them still wait.
    left: usize,
}

impl Merges {
    /// A merged message left with this id.
    pub(super) fn sent(&mut self, outer: i32, session: SessionId, ids: Vec<i32>) {
        let left = ids.len();
        self.open.insert(outer, Merge { session, ids, left });
    }

    /// The ids whose answers come by position with the message `outer` of this session.
    pub(super) fn by_position(&self, outer: i32, session: SessionId) -> Option<Vec<i32>> {
        let merge = self.open.get(&outer)?;
        (merge.session == session).then(|| merge.ids.clone())
    }

    /// The ids of a merged message that could not be sent after all.
    pub(super) fn unsent(&mut self, outer: i32) -> Option<Vec<i32>> {
        self.open.remove(&outer).map(|merge| merge.ids)
    }

    /// One request of this message waits no more, whatever the reason.
    pub(super) fn done(&mut self, outer: i32) {
        if let Some(merge) = self.open.get_mut(&outer) {
            merge.left = merge.left.saturating_sub(1);
            if merge.left == 0 {
                self.open.remove(&outer);
            }
        }
    }

    pub(super) fn is_waiting(&self, outer: i32) -> bool {
        self.open.contains_key(&outer)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

/// UTF-8 bytes of a request's texts, which nearly are its size.
pub(super) fn text_bytes(message: &Message) -> usize {
    let branch = |b: &BranchRegister| {
        b.xid.len() + b.resource_id.len() + b.lock_key.len() + b.application_data.len()
    };
    match message {
        Message::GlobalBegin(begin) => begin.transaction_name.len(),
        Message::GlobalCommit(end) | Message::GlobalRollback(end) | Message::GlobalStatus(end) => {
            end.xid.len() + end.extra_data.len()
        }
        Message::GlobalReport(report) => report.xid.len() + report.extra_data.len(),
        Message::BranchRegister(register) | Message::GlobalLockQuery(register) => branch(register),
        Message::BranchReport(report) => {
            report.xid.len() + report.resource_id.len() + report.application_data.len()
        }
        _ => 0,
    }
}

/// Cuts requests, given by their sizes, into messages of at most so many requests and bytes. Each is a range of indices; a
/// request too long for company is alone.
pub(super) fn cut(
    sizes: &[usize],
    requests_max: usize,
    bytes_max: usize,
) -> Vec<std::ops::Range<usize>> {
    let mut cuts = Vec::new();
    let (mut start, mut bytes) = (0, 0usize);
    for (index, size) in sizes.iter().enumerate() {
        let full = index - start >= requests_max.max(1) || bytes.saturating_add(*size) > bytes_max;
        if full && index > start {
            cuts.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes = bytes.saturating_add(*size);
    }
    if start < sizes.len() {
        cuts.push(start..sizes.len());
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_both_limits_and_leaves_the_long_alone() {
        assert_eq!(cut(&[], 2, 10), Vec::<std::ops::Range<usize>>::new());
        assert_eq!(cut(&[1, 1, 1, 1, 1], 2, 10), vec![0..2, 2..4, 4..5]);
        assert_eq!(cut(&[6, 6, 50, 1, 1], 9, 10), vec![0..1, 1..2, 2..3, 3..5]);
        assert_eq!(cut(&[3, 3], 0, 0), vec![0..1, 1..2]);
    }

    #[test]
    fn a_merge_is_forgotten_when_none_of_its_requests_waits() {
        let session = SessionId::from_u64(1);
        let mut merges = Merges::default();
        merges.sent(9, session, vec![4, 5]);
        assert_eq!(merges.by_position(9, session), Some(vec![4, 5]));
        assert_eq!(merges.by_position(9, SessionId::from_u64(2)), None);
        merges.done(9);
        assert_eq!(merges.len(), 1);
        merges.done(9);
        merges.done(9);
        assert_eq!(merges.len(), 0);
    }
}
