//! What the coordinator counts. Counters only grow; gauges say so.

use crate::proto::status::GlobalStatus;

/// Counters and gauges of a [`Coordinator`](super::Coordinator).
///
/// The books balance at every moment: `begun + recovered = committed + rolled_back + timed_out + finished + passed_on +
/// live`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorStats {
    /// Transactions begun.
    pub begun: u64,
    /// Live transactions found at start, or first seen when a shared store told of them.
    pub recovered: u64,
    /// Transactions that ended committed.
    pub committed: u64,
    /// Transactions that ended rolled back by request.
    pub rolled_back: u64,
    /// Transactions that ended rolled back because their time was over.
    pub timed_out: u64,
    /// SAGA transactions whose end is told as Finished, and rows that only had to go.
    pub finished: u64,
    /// Transactions that are a sibling's: decided there, offered for want of an RM, or taken over. Only with a shared
    /// store.
    pub passed_on: u64,
    /// Gauge: live transactions.
    pub live: usize,
    /// Gauge: live transactions by the code of their status.
    pub live_by_status: [usize; GlobalStatus::ALL.len()],
    /// Commits decided.
    pub commits_decided: u64,
    /// Rollbacks decided on request.
    pub rollbacks_decided: u64,
    /// Rollbacks decided because the time was over.
    pub timeouts_decided: u64,
    /// Begins refused: for a limit, while draining, or while the store bars them.
    pub begins_refused: u64,
    /// Branches registered.
    pub branches_registered: u64,
    /// Branches refused, for whatever reason but a conflict.
    pub branches_refused: u64,
    /// Registrations that met a row lock of another transaction.
    pub conflicts: u64,
    /// Of these, told as fail-fast.
    pub conflicts_fail_fast: u64,
    /// Lock queries that found a row held.
    pub lock_queries_held: u64,
    /// Branch reports that came too late to count.
    pub reports_ignored: u64,
    /// Branch calls sent.
    pub calls: u64,
    /// Of these, not the first for their branch since the decision or the start.
    pub calls_repeated: u64,
    /// Calls that got no answer in time.
    pub calls_timed_out: u64,
    /// Calls whose connection was lost.
    pub calls_lost: u64,
    /// Tries that found no connection for the resource.
    pub calls_unrouted: u64,
    /// Answers of branches that nobody waited for.
    pub answers_unexpected: u64,
    /// Branches that answered that they never can do it.
    pub branches_unretryable: u64,
    /// XA branches taken for done because their database did not know them for long enough.
    pub xaer_nota_accepted: u64,
    /// Transactions given up after the retry timeout.
    pub retries_given_up: u64,
    /// Operations that the store could not carry out.
    pub store_failures: u64,
    /// Connections that were told to close because they sent what they may not.
    pub closed_by_rule: u64,
    /// Gauge: open connections.
    pub channels: usize,
    /// Gauge: requests taken and not answered.
    pub held: usize,
    /// Gauge: branch calls in flight.
    pub calls_in_flight: usize,
    /// Gauge: transactions whose branches are being called or retried.
    pub drives: usize,
    /// Gauge: answers and calls that wait for the store.
    pub parked: usize,
}
