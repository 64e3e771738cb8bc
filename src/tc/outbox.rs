//! What leaves the coordinator, and when: an answer is parked until what it tells is durable, and the answers to a
//! merged request until all of them are there (wire.md 6.6).

use std::collections::VecDeque;
use std::time::Instant;

use slab::Slab;

use super::coordinator::{ChannelId, Output};
use super::store::Seq;
use crate::proto::HeadMap;
use crate::proto::codec::Rpc;
use crate::proto::frame::MessageKind;
use crate::proto::message::{BatchResult, MergeResult, Message};
use crate::proto::version::ExceptionTable;

/// Where the answer to a request goes. Exactly one answer is given for each.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) channel: ChannelId,
    pub(super) id: i32,
    pub(super) serializer: u8,
    pub(super) compressor: u8,
    /// When the request came.
    pub(super) taken: Instant,
    /// The merged request it came in and its place there, when its answers leave together.
    pub(super) merge: Option<(usize, usize)>,
}

impl Reply {
    /// For a request that came alone.
    pub(super) fn to(channel: ChannelId, rpc: &Rpc, taken: Instant) -> Self {
        Self {
            channel,
            id: rpc.id,
            serializer: rpc.serializer,
            compressor: rpc.compressor,
            taken,
            merge: None,
        }
    }

    fn rpc(&self, message: Message) -> Rpc {
        Rpc {
            id: self.id,
            kind: MessageKind::Response,
            serializer: self.serializer,
            compressor: self.compressor,
            head_map: HeadMap::new(),
            message,
        }
    }
}

/// A merged request some of whose answers are missing.
#[derive(Debug)]
struct Merge {
    answers: Vec<Option<Message>>,
    missing: usize,
    after: Seq,
    /// The ids of the children, when they are answered with a [`BatchResult`].
    ids: Option<Vec<i32>>,
}

/// Answers and calls on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ripe: VecDeque<Output>,
    /// Sorted by sequence number; of one number in the order they came.
    parked: VecDeque<(Seq, Output)>,
    durable: Seq,
    merges: Slab<Merge>,
}

impl Outbox {
    /// Opens a merged request of `count` children, at least one. The key is for [`Reply::merge`].
    pub(super) fn open_merge(&mut self, count: usize, ids: Option<Vec<i32>>) -> usize {
        debug_assert!(count > 0);
        self.merges.insert(Merge {
            answers: vec![None; count],
            missing: count,
            after: Seq(0),
            ids,
        })
    }

    /// Answers a request. `table` is that of its connection; `None` when the connection is gone, and the answer with it.
    pub(super) fn answer(
        &mut self,
        reply: Reply,
        after: Seq,
        table: Option<ExceptionTable>,
        message: Message,
    ) {
        let (after, message) = match reply.merge {
            None => (after, message),
            Some((key, place)) => match self.fill(key, place, after, message) {
                Some(whole) => whole,
                None => return,
            },
        };
        if let Some(table) = table {
            let to = reply.channel;
            let rpc = reply.rpc(message);
            self.push(after, Output::Send { to, rpc, table });
        }
    }

    /// Lets an output go once `after` is durable.
    pub(super) fn push(&mut self, after: Seq, output: Output) {
        if after <= self.durable {
            self.ripe.push_back(output);
        } else if self.parked.back().is_none_or(|(last, _)| *last <= after) {
            self.parked.push_back((after, output));
        } else {
            let place = self.parked.partition_point(|(seq, _)| *seq <= after);
            self.parked.insert(place, (after, output));
        }
    }

    /// Everything up to here is durable.
    pub(super) fn ripen(&mut self, durable: Seq) {
        self.durable = self.durable.max(durable);
        while self
            .parked
            .front()
            .is_some_and(|(seq, _)| *seq <= self.durable)
        {
            let output = self.parked.pop_front().map(|(_, output)| output);
            self.ripe.extend(output);
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.ripe.pop_front()
    }

    /// How many outputs wait for the store.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Takes one answer of a merged request; the whole answer when it was the last.
    fn fill(
        &mut self,
        key: usize,
        place: usize,
        after: Seq,
        message: Message,
    ) -> Option<(Seq, Message)> {
        let merge = self.merges.get_mut(key)?;
        debug_assert!(
            merge.answers[place].is_none(),
            "each child is answered once"
        );
        merge.answers[place] = Some(message);
        merge.after = merge.after.max(after);
        merge.missing -= 1;
        if merge.missing > 0 {
            return None;
        }
        let merge = self.merges.remove(key);
        let messages = merge.answers.into_iter().flatten().collect();
        let message = match merge.ids {
            Some(ids) => Message::BatchResult(BatchResult { messages, ids }),
            None => Message::MergeResult(MergeResult { messages }),
        };
        Some((merge.after, message))
    }
}
