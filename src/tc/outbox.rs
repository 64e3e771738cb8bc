//! What leaves the coordinator, and when: an answer is parked until what it tells is durable, and the answers to a
//! merged request until all of them are there (wire.md 6.6). A request counts as held until its answer is ripe, so that a
//! slow disk is felt at the door.

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

/// Something that waits for the store.
#[derive(Debug)]
struct Parked {
    after: Seq,
    output: Output,
    /// How many requests it answers.
    requests: usize,
}

/// Answers and calls on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ripe: VecDeque<Output>,
    /// Sorted by sequence number; of one number in the order they came.
    parked: VecDeque<Parked>,
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
    /// Gives how many requests are held no longer: the answer may have to wait, or be the last of several.
    pub(super) fn answer(
        &mut self,
        reply: Reply,
        after: Seq,
        table: Option<ExceptionTable>,
        message: Message,
    ) -> usize {
        let (after, message, requests) = match reply.merge {
            None => (after, message, 1),
            Some((key, place)) => match self.fill(key, place, after, message) {
                Some(whole) => whole,
                None => return 0,
            },
        };
        let Some(table) = table else {
            return requests;
        };
        let to = reply.channel;
        let rpc = reply.rpc(message);
        self.put(after, Output::Send { to, rpc, table }, requests)
    }

    /// Lets an output that answers nothing go once `after` is durable.
    pub(super) fn push(&mut self, after: Seq, output: Output) {
        self.put(after, output, 0);
    }

    /// Gives how many of `requests` are held no longer.
    fn put(&mut self, after: Seq, output: Output, requests: usize) -> usize {
        if after <= self.durable {
            self.ripe.push_back(output);
            return requests;
        }
        // What tells of something older than the newest waits with the newest: that is in the same sync or the next one,
        // and a place in the middle of a long queue would cost a shift of all that is behind it.
        let last = self.parked.back().map_or(Seq(0), |parked| parked.after);
        self.parked.push_back(Parked {
            after: after.max(last),
            output,
            requests,
        });
        0
    }

    /// Everything up to here is durable. [`Outbox::ripen`] has to follow until it gives none.
    pub(super) fn note_durable(&mut self, durable: Seq) {
        self.durable = self.durable.max(durable);
    }

    /// Lets the next output go that has what it waited for: to whom, and how many requests it answers.
    pub(super) fn ripen(&mut self) -> Option<(ChannelId, usize)> {
        if self.parked.front()?.after > self.durable {
            return None;
        }
        let Parked {
            output, requests, ..
        } = self.parked.pop_front()?;
        let (Output::Send { to: channel, .. } | Output::Close { channel, .. }) = &output;
        let channel = *channel;
        self.ripe.push_back(output);
        Some((channel, requests))
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.ripe.pop_front()
    }

    /// How many outputs wait for the store.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Takes one answer of a merged request; when it was the last, the whole answer and how many requests it answers.
    fn fill(
        &mut self,
        key: usize,
        place: usize,
        after: Seq,
        message: Message,
    ) -> Option<(Seq, Message, usize)> {
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
        let requests = merge.answers.len();
        let messages = merge.answers.into_iter().flatten().collect();
        let message = match merge.ids {
            Some(ids) => Message::BatchResult(BatchResult { messages, ids }),
            None => Message::MergeResult(MergeResult { messages }),
        };
        Some((merge.after, message, requests))
    }
}
