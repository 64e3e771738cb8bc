//! The store that forgets everything with the process: the reference model, and enough for hosts that accept the loss.

use std::collections::VecDeque;

use super::state::State;
use super::{Completion, Global, Operation, Seq, Store, StoreLimits, StoreStats, Ticket, journal};

/// Keeps everything in memory. Every operation completes at once and counts as durable.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: State,
    limits: StoreLimits,
    completions: VecDeque<Completion>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The state as bytes: equal for equal states, and equal to that of a journal in the same state.
    pub fn image(&self) -> Vec<u8> {
        journal::image_of(&self.state)
    }
}

impl Store for MemoryStore {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        let (outcome, after) = self.state.carry_out(&self.limits, operation);
        self.completions.push_back(Completion {
            ticket,
            outcome,
            after,
        });
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn flush(&mut self) {}

    fn durable(&self) -> Seq {
        self.state.seq()
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        self.state.scan(visit);
    }

    fn highest_id(&self) -> i64 {
        self.state.highest_id()
    }

    fn stats(&self) -> StoreStats {
        self.state.stats()
    }
}
