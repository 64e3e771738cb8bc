//! Accounts with a fenced action that takes money from one.

use std::collections::VecDeque;
use std::sync::Mutex;

use seamio::client::tcc::{ActionContext, Fence, FenceError, Tcc, TccAction, TccError, TccOptions};
use seamio::client::{Seata, TxGuard, TxOptions};
use seamio::xid::BranchId;
use serde::{Deserialize, Serialize};

use crate::databases::Database;
use crate::fixture::Log;

/// Takes money from an account: the try freezes it, the confirm spends it, the cancel frees it.
pub(crate) struct Withdraw {
    pub(crate) database: Database,
    pub(crate) log: Log<Ran>,
    /// Of the phases to come, after their work; empty: none fails.
    pub(crate) failures: Mutex<VecDeque<Failure>>,
}

/// A phase that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Try(BranchId),
    Confirm(BranchId),
    Cancel(BranchId),
}

/// How a phase fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Later,
    Never,
    Panic,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) amount: i64,
}

impl Withdraw {
    async fn change(&self, ctx: &mut ActionContext, change: &str) -> Result<u64, FenceError> {
        let table = self.database.table("account");
        self.database
            .execute_in(ctx, format!("UPDATE {table} SET {change}"))
            .await
    }

    fn outcome(&self) -> Result<(), TccError> {
        let failure = self.failures.lock().expect("no panic within").pop_front();
        match failure {
            None => Ok(()),
            Some(Failure::Later) => Err(TccError::retryable("as the test says")),
            Some(Failure::Never) => Err(TccError::unretryable("as the test says")),
            Some(Failure::Panic) => panic!("as the test says"),
        }
    }
}

impl TccAction for Withdraw {
    type Args = Amount;
    type Out = BranchId;
    type Error = TccError;
    const NAME: &'static str = "withdraw";

    async fn try_(&self, ctx: &mut ActionContext, args: &Amount) -> Result<BranchId, TccError> {
        self.log.note(Ran::Try(ctx.branch_id()));
        let amount = args.amount;
        let change = format!("frozen = frozen + {amount} WHERE balance - frozen >= {amount}");
        match self.change(ctx, &change).await? {
            1 => self.outcome().map(|()| ctx.branch_id()),
            _ => Err(TccError::retryable("not enough money")),
        }
    }

    async fn confirm(&self, ctx: &mut ActionContext, args: Amount) -> Result<(), TccError> {
        self.log.note(Ran::Confirm(ctx.branch_id()));
        let amount = args.amount;
        let change = format!("frozen = frozen - {amount}, balance = balance - {amount}");
        self.change(ctx, &change).await?;
        self.outcome()
    }

    async fn cancel(&self, ctx: &mut ActionContext, args: Option<Amount>) -> Result<(), TccError> {
        self.log.note(Ran::Cancel(ctx.branch_id()));
        if let Some(Amount { amount }) = args {
            self.change(ctx, &format!("frozen = frozen - {amount}"))
                .await?;
        }
        self.outcome()
    }
}

/// A bank with one account that holds 100, and the action on it.
pub(crate) struct Bank {
    pub(crate) database: Database,
    pub(crate) fence: Fence,
    pub(crate) seata: Seata,
    pub(crate) tcc: Tcc<Withdraw>,
    pub(crate) log: Log<Ran>,
}

impl Bank {
    pub(crate) async fn open(seata: &Seata, database: &Database) -> Self {
        let fence = database.fence().await;
        let table = database.table("account");
        let sql = format!("CREATE TABLE {table} (balance BIGINT NOT NULL, frozen BIGINT NOT NULL)");
        database.execute(&sql).await;
        database
            .execute(&format!("INSERT INTO {table} VALUES (100, 0)"))
            .await;
        let log = Log::new();
        let action = Withdraw {
            database: database.clone(),
            log: log.clone(),
            failures: Mutex::default(),
        };
        let options = TccOptions::new().fence(&fence);
        let tcc = seata
            .register_tcc_with(action, options)
            .await
            .expect("registered");
        Self {
            database: database.clone(),
            fence,
            seata: seata.clone(),
            tcc,
            log,
        }
    }

    pub(crate) async fn begin(&self) -> TxGuard {
        self.seata
            .begin(TxOptions::new("withdraw"))
            .await
            .expect("begun")
    }

    pub(crate) fn fail_next(&self, failures: &[Failure]) {
        let mut next = self.tcc.action().failures.lock().expect("no panic within");
        *next = failures.iter().copied().collect();
    }

    /// Balance and what of it is frozen.
    pub(crate) async fn account(&self) -> (i64, i64) {
        let table = self.database.table("account");
        let balance = self
            .database
            .number(&format!("SELECT balance FROM {table}"))
            .await;
        let frozen = self
            .database
            .number(&format!("SELECT frozen FROM {table}"))
            .await;
        (balance, frozen)
    }

    /// The state that the fence has for a branch; 0 for none.
    pub(crate) async fn state(&self, branch: BranchId) -> i64 {
        let table = self.database.table("fence");
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(status), 0) AS {}) FROM {table} WHERE branch_id = {branch}",
            match self.database.kind() {
                crate::databases::Kind::MySql => "SIGNED",
                _ => "BIGINT",
            }
        );
        self.database.number(&sql).await
    }

    pub(crate) async fn close(self) {
        self.database.drop_tables(&["account", "fence"]).await;
    }
}
