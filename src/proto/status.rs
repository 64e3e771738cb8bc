//! The enumerations that travel and are stored: statuses, branch types, exception codes.
//!
//! Numbers are Seata's (wire.md 5). The wire number of an exception code depends on the peer's version, so
//! [`ExceptionCode`] has no number of its own; `version` translates.

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $text] $(#[$vmeta])* $variant = $code),+ }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The value with this number, if there is one.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }

            /// The number.
            pub const fn code(self) -> u8 { self as u8 }

            /// Seata's own spelling, as it stands in databases, consoles and logs.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.name()) }
        }
    };
}

wire_enum! {
    /// Status of a global transaction.
    GlobalStatus {
        Unknown = 0 "UnKnown",
        Begin = 1 "Begin",
        Committing = 2 "Committing",
        CommitRetrying = 3 "CommitRetrying",
        Rollbacking = 4 "Rollbacking",
        RollbackRetrying = 5 "RollbackRetrying",
        TimeoutRollbacking = 6 "TimeoutRollbacking",
        TimeoutRollbackRetrying = 7 "TimeoutRollbackRetrying",
        AsyncCommitting = 8 "AsyncCommitting",
        Committed = 9 "Committed",
        CommitFailed = 10 "CommitFailed",
        Rollbacked = 11 "Rollbacked",
        RollbackFailed = 12 "RollbackFailed",
        TimeoutRollbacked = 13 "TimeoutRollbacked",
        TimeoutRollbackFailed = 14 "TimeoutRollbackFailed",
        Finished = 15 "Finished",
        CommitRetryTimeout = 16 "CommitRetryTimeout",
        RollbackRetryTimeout = 17 "RollbackRetryTimeout",
        Deleting = 18 "Deleting",
        StopCommitOrCommitRetry = 19 "StopCommitOrCommitRetry",
        StopRollbackOrRollbackRetry = 20 "StopRollbackOrRollbackRetry",
    }
}

wire_enum! {
    /// Status of a branch. Statuses of phase two are answers of the RM; the coordinator does not store them.
    BranchStatus {
        Unknown = 0 "Unknown",
        Registered = 1 "Registered",
        PhaseOneDone = 2 "PhaseOne_Done",
        PhaseOneFailed = 3 "PhaseOne_Failed",
        PhaseOneTimeout = 4 "PhaseOne_Timeout",
        PhaseTwoCommitted = 5 "PhaseTwo_Committed",
        PhaseTwoCommitFailedRetryable = 6 "PhaseTwo_CommitFailed_Retryable",
        PhaseTwoCommitFailedUnretryable = 7 "PhaseTwo_CommitFailed_Unretryable",
        PhaseTwoRollbacked = 8 "PhaseTwo_Rollbacked",
        PhaseTwoRollbackFailedRetryable = 9 "PhaseTwo_RollbackFailed_Retryable",
        PhaseTwoRollbackFailedUnretryable = 10 "PhaseTwo_RollbackFailed_Unretryable",
        PhaseTwoCommitFailedXaerNotaRetryable = 11 "PhaseTwo_CommitFailed_XAER_NOTA_Retryable",
        PhaseTwoRollbackFailedXaerNotaRetryable = 12 "PhaseTwo_RollbackFailed_XAER_NOTA_Retryable",
        PhaseOneRdonly = 13 "PhaseOne_RDONLY",
        StopRetry = 14 "STOP_RETRY",
        PhaseOnePrepareFailed = 15 "PhaseOne_PrepareFailed",
    }
}

wire_enum! {
    /// Kind of a branch.
    BranchType {
        At = 0 "AT",
        Tcc = 1 "TCC",
        Saga = 2 "SAGA",
        Xa = 3 "XA",
        SagaAnnotation = 4 "SAGA_ANNOTATION",
    }
}

wire_enum! {
    /// Whether a request succeeded.
    ResultCode {
        Failed = 0 "Failed",
        Success = 1 "Success",
    }
}

wire_enum! {
    /// Why a transaction request failed. The numbers here are those of Seata 2.0 and later.
    ExceptionCode {
        Unknown = 0 "Unknown",
        BeginFailed = 1 "BeginFailed",
        LockKeyConflict = 2 "LockKeyConflict",
        Io = 3 "IO",
        BranchRollbackFailedRetriable = 4 "BranchRollbackFailed_Retriable",
        BranchRollbackFailedUnretriable = 5 "BranchRollbackFailed_Unretriable",
        BranchRegisterFailed = 6 "BranchRegisterFailed",
        BranchReportFailed = 7 "BranchReportFailed",
        LockableCheckFailed = 8 "LockableCheckFailed",
        BranchTransactionNotExist = 9 "BranchTransactionNotExist",
        GlobalTransactionNotExist = 10 "GlobalTransactionNotExist",
        GlobalTransactionNotActive = 11 "GlobalTransactionNotActive",
        GlobalTransactionStatusInvalid = 12 "GlobalTransactionStatusInvalid",
        FailedToSendBranchCommitRequest = 13 "FailedToSendBranchCommitRequest",
        FailedToSendBranchRollbackRequest = 14 "FailedToSendBranchRollbackRequest",
        FailedToAddBranch = 15 "FailedToAddBranch",
        FailedLockGlobalTransaction = 16 "FailedLockGlobalTransaction",
        FailedWriteSession = 17 "FailedWriteSession",
        FailedStore = 18 "FailedStore",
        NotRaftLeader = 19 "NotRaftLeader",
        LockKeyConflictFailFast = 20 "LockKeyConflictFailFast",
        TransactionTimeout = 21 "TransactionTimeout",
        CommitHeuristic = 22 "CommitHeuristic",
        Broken = 23 "Broken",
    }
}
