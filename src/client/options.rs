//! What a client is told once: times, limits and switches, each with a default (client.md 11).

use std::time::Duration;

use super::DegradeCheck;
use crate::proto::frame::FRAME_BYTES_MAX;

/// Times, limits and switches of a client. Names of Java's keys stand beside those that have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// `transport.rpcTmRequestTimeout`: how long one request of the TM is waited for. Default 30 s.
    pub tm_request_timeout: Duration,
    /// `transport.rpcRmRequestTimeout`: how long one request of the RM is waited for. Default 15 s.
    pub rm_request_timeout: Duration,
    /// `client.tm.commitRetryCount` and what goes with it. Default 5 attempts within 60 s.
    pub commit_retry: RetryPolicy,
    /// `client.tm.rollbackRetryCount` and what goes with it. Default 5 attempts within 60 s.
    pub rollback_retry: RetryPolicy,
    /// `client.rm.reportRetryCount` and what goes with it. Default 5 attempts within 30 s.
    pub report_retry: RetryPolicy,
    /// How long a request waits for a connection when there is none at the moment. Default 3 s.
    pub connection_patience: Duration,
    /// `transport.enableTmClientBatchSendRequest`. Default one by one.
    pub tm_sending: Sending,
    /// `transport.enableRmClientBatchSendRequest`. Default merged.
    pub rm_sending: Sending,
    /// Most requests in one merged message. Default 256.
    pub merge_requests_max: usize,
    /// Most UTF-8 bytes of the texts in one merged message; a longer request goes alone. Default 1 MiB.
    pub merge_bytes_max: usize,
    /// `client.loadBalance.type`. Default [`LoadBalance::Xid`].
    pub load_balance: LoadBalance,
    /// `transport.heartbeat`: silence of ours after which a heartbeat is sent; `None` sends none. Default 5 s.
    pub heartbeat: Option<Duration>,
    /// Silence of the coordinator after which its connection is given up; `None` is never. Default 15 s.
    pub idle_timeout: Option<Duration>,
    /// `transport.enable{Tm,Rm}ClientChannelCheckFailFast`: whether `build` waits for a first coordinator.
    pub start: Start,
    /// Requests that wait for an answer or a connection at once; one more is refused. Default 65,536.
    pub calls_max: usize,
    /// Longest frame read, in bytes. Default 8 MiB.
    pub frame_bytes_max: usize,
    /// Bytes that may wait for one coordinator that does not read, before its connection is closed. Default 16 MiB.
    pub queued_bytes_max: usize,
    /// Second phases of branches at work at once. Default 64.
    pub phase_two_concurrency: usize,
    /// Second phases that wait for their turn; one more is answered with a retryable failure. Default 10,000.
    pub phase_two_queue: usize,
    /// `service.disableGlobalTransaction`: whether code that asks for a transaction gets one. Default on; see
    /// [`Seata::switch`](super::Seata::switch).
    pub global_transactions: GlobalTransactions,
    /// `client.tm.degradeCheck`: whether too many failures bypass global transactions. Default `None`: never.
    pub degrade_check: Option<DegradeCheck>,
    /// Seed of jitter and random choices. 0, the default, takes one from the operating system.
    pub seed: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let ending = RetryPolicy {
            attempts: 5,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(3),
            total: Duration::from_secs(60),
        };
        Self {
            tm_request_timeout: Duration::from_secs(30),
            rm_request_timeout: Duration::from_secs(15),
            commit_retry: ending,
            rollback_retry: ending,
            report_retry: RetryPolicy {
                total: Duration::from_secs(30),
                ..ending
            },
            connection_patience: Duration::from_secs(3),
            tm_sending: Sending::OneByOne,
            rm_sending: Sending::Merged,
            merge_requests_max: 256,
            merge_bytes_max: 1 << 20,
            load_balance: LoadBalance::Xid,
            heartbeat: Some(Duration::from_secs(5)),
            idle_timeout: Some(Duration::from_secs(15)),
            start: Start::WithinOrFail(Duration::from_secs(10)),
            calls_max: 65_536,
            frame_bytes_max: FRAME_BYTES_MAX,
            queued_bytes_max: 16 << 20,
            phase_two_concurrency: 64,
            phase_two_queue: 10_000,
            global_transactions: GlobalTransactions::On,
            degrade_check: None,
            seed: 0,
        }
    }
}

/// How often and how long something is tried.
///
/// Between two attempts lies a random part of a step that doubles each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; 0 counts as 1.
    pub attempts: u32,
    /// The first step.
    pub first: Duration,
    /// The longest step.
    pub longest: Duration,
    /// Time for everything together, from the call to its result.
    pub total: Duration,
}

/// Whether requests that leave at the same moment share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Each request is a message.
    OneByOne,
    /// Requests that leave in one turn of the client's thread are one message. Nothing waits for company.
    Merged,
}

/// Which of several coordinators is asked (`client.loadBalance.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalance {
    /// The one that began the transaction; any other only while that one is not connected, or for a begin.
    Xid,
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastActive,
    /// By the hash of the xid: the same one as long as the same ones are connected.
    ConsistentHash {
        /// `client.loadBalance.virtualNodes`: points of each coordinator on the ring; Java's default is 10. 0 counts as 1.
        virtual_nodes: u32,
    },
}

/// Whether code that asks for a global transaction gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalTransactions {
    /// It does.
    On,
    /// It runs without any: [`Seata::transaction`](super::Seata::transaction) only calls it.
    Off,
}

/// What `build` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Fails when no coordinator can be reached: as soon as each was tried once, at the latest after this time.
    WithinOrFail(Duration),
    /// For nothing: the connections come when they come.
    AtOnce,
}

impl RetryPolicy {
    /// One attempt that may take so long.
    pub fn once(total: Duration) -> Self {
        Self {
            attempts: 1,
            first: Duration::ZERO,
            longest: Duration::ZERO,
            total,
        }
    }
}
