//! Every limit and period of the coordinator, with its default (coordinator.md 7.2).

use std::time::Duration;

/// What a [`Coordinator`](super::Coordinator) is told once. All limits count items, all periods are real time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// `host:port` under which clients know this coordinator: the start of every xid.
    pub advertised: String,
    /// The version told to clients that register. Never empty.
    pub server_version: String,
    /// Seed of the jitter of retries. Any value; the same seed and inputs give the same outputs.
    pub seed: u64,
    /// Several coordinators share the store: what finds no RM here is offered to the others, and branches are called only
    /// while the store's lease lasts ([`StoreEvent`](super::store::StoreEvent)).
    pub shared: bool,
    /// `server.javaAnswers`: every client gets the answers a Java coordinator gives (coordinator.md 1.7 rule 5).
    pub java_answers: bool,
    /// `transport.enableTcServerBatchSendResponse`: merged requests of clients from 1.5 up to 2.3 are answered with one
    /// message that carries ids.
    pub batch_responses: bool,
    /// `server.enableParallelHandleBranch`: branches of different resources of one transaction are called at once.
    pub parallel_branches: bool,
    /// `transport.rpcTcRequestTimeout`: how long a branch call may take.
    pub call_timeout: Duration,
    /// A commit or rollback is answered at the latest so long after it came.
    pub answer_within: Duration,
    /// `server.recovery.committingRetryPeriod`: the first retry of a branch commit; later ones double.
    pub commit_retry_first: Duration,
    /// `server.recovery.rollbackingRetryPeriod`: the first retry of a branch rollback; later ones double.
    pub rollback_retry_first: Duration,
    /// The longest pause between two tries of a branch.
    pub retry_pause_max: Duration,
    /// `server.maxCommitRetryTimeout`: how long after the decision a commit is retried; `None` is for ever.
    pub commit_retry_timeout: Option<Duration>,
    /// `server.maxRollbackRetryTimeout`: how long after the decision a rollback is retried; `None` is for ever.
    pub rollback_retry_timeout: Option<Duration>,
    /// `server.rollbackRetryTimeoutUnlockEnable`: a rollback given up frees its row locks.
    pub rollback_retry_timeout_unlock: bool,
    /// `server.xaerNotaRetryTimeout`: how long an XA branch that its database does not know is asked again.
    pub xaer_nota_grace: Duration,
    /// `server.retryDeadThreshold`: a SAGA whose engine reported that it works on it is called when it says no more.
    pub saga_silence: Duration,
    /// How long an XA client must be gone before another host of its application finishes its branches.
    pub xa_takeover: Duration,
    /// How long an ended transaction is remembered, at least; counted anew at each start, so that a clock set forward
    /// while stopped does not shorten it.
    pub tombstone_life: Duration,
    /// How often old tombstones are dropped.
    pub tombstone_sweep: Duration,
    /// When old undo logs are deleted for the first time after start.
    pub undo_log_first: Duration,
    /// `server.undo.logDeletePeriod`: how often old undo logs are deleted.
    pub undo_log_period: Duration,
    /// `server.undo.logSaveDays`: the age of an old undo log, in days.
    pub undo_log_days: i16,
    /// Live global transactions; one more begin is refused.
    pub globals_max: usize,
    /// Branches of one global transaction; one more registration is refused.
    pub branches_per_global_max: usize,
    /// Requests whose answers have not left, in all; one more begin is refused. Answers that wait for a slow disk count.
    pub held_max: usize,
    /// Requests of one connection whose answers have not left; one more begin is refused.
    pub held_per_channel_max: usize,
    /// `server.applicationDataLimit`: UTF-8 bytes of a branch's application data; more is refused.
    pub application_data_max: usize,
    /// Branch calls in flight to one connection for one resource; more wait.
    pub calls_per_route_max: usize,
    /// Resources that one connection may register; a registration beyond is refused.
    pub resources_per_channel_max: usize,
    /// UTF-8 bytes of all resource ids of one connection; a registration beyond is refused.
    pub resource_bytes_per_channel_max: usize,
    /// UTF-8 bytes of one resource id; a registration with a longer one is refused. No store keeps a branch of it.
    pub resource_id_bytes_max: usize,
    /// UTF-8 bytes of an application id, and of a transaction service group; a registration with a longer one is refused.
    pub identity_bytes_max: usize,
    /// Clients that left and are remembered for [`xa_takeover`](Self::xa_takeover).
    pub departed_max: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            advertised: "127.0.0.1:8091".to_owned(),
            server_version: "2.3.0".to_owned(),
            seed: 0,
            shared: false,
            java_answers: false,
            batch_responses: false,
            parallel_branches: false,
            call_timeout: Duration::from_secs(15),
            answer_within: Duration::from_secs(25),
            commit_retry_first: Duration::from_secs(1),
            rollback_retry_first: Duration::from_secs(1),
            retry_pause_max: Duration::from_secs(10),
            commit_retry_timeout: None,
            rollback_retry_timeout: None,
            rollback_retry_timeout_unlock: false,
            xaer_nota_grace: Duration::from_secs(60),
            saga_silence: Duration::from_secs(130),
            xa_takeover: Duration::from_secs(10),
            tombstone_life: Duration::from_secs(600),
            tombstone_sweep: Duration::from_secs(10),
            undo_log_first: Duration::from_secs(180),
            undo_log_period: Duration::from_secs(24 * 3600),
            undo_log_days: 7,
            globals_max: 1_000_000,
            branches_per_global_max: 10_000,
            held_max: 100_000,
            held_per_channel_max: 20_000,
            application_data_max: 64_000,
            calls_per_route_max: 256,
            resources_per_channel_max: 10_000,
            resource_bytes_per_channel_max: 4 << 20,
            resource_id_bytes_max: 16 << 10,
            identity_bytes_max: 1024,
            departed_max: 65_536,
        }
    }
}
