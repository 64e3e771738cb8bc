//! A transfer between two accounts in TCC mode: one that is confirmed, one that is cancelled.
//!
//! `cargo run --example tcc_transfer --features client,sqlite` needs no server of another make: the coordinator runs in this
//! process, both accounts live in SQLite databases of their own, in memory.
//!
//! Each side of a transfer is an action with a fence: the try freezes the money or announces it, the confirm moves it, the cancel
//! takes the freeze back. The work goes over the fence's transaction, so a phase that is asked twice works once.

use std::time::Duration;

use seamio::client::tcc::{ActionContext, Fence, TccAction, TccError, TccOptions};
use seamio::client::{File, Seata, TxOptions};
use seamio::tc::server::{Server, ServerConfig};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Sqlite, SqlitePool};

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Amount {
    cents: i64,
}

/// Takes money from the account of its bank.
struct Debit;

impl TccAction for Debit {
    type Args = Amount;
    type Out = ();
    type Error = TccError;
    const NAME: &'static str = "debit";

    async fn try_(&self, ctx: &mut ActionContext, amount: &Amount) -> Result<(), TccError> {
        let frozen =
            sqlx::query("UPDATE account SET frozen = frozen + ?1 WHERE balance - frozen >= ?1");
        let connection = ctx.connection::<Sqlite>()?;
        match frozen
            .bind(amount.cents)
            .execute(connection)
            .await?
            .rows_affected()
        {
            0 => Err(TccError::unretryable("not enough money")),
            _ => Ok(()),
        }
    }

    async fn confirm(&self, ctx: &mut ActionContext, amount: Amount) -> Result<(), TccError> {
        let moved = "UPDATE account SET balance = balance - ?1, frozen = frozen - ?1";
        execute(ctx, moved, amount).await
    }

    async fn cancel(
        &self,
        ctx: &mut ActionContext,
        amount: Option<Amount>,
    ) -> Result<(), TccError> {
        match amount {
            Some(amount) => execute(ctx, "UPDATE account SET frozen = frozen - ?1", amount).await,
            None => Ok(()),
        }
    }
}

/// Brings money to the account of its bank.
struct Credit;

impl TccAction for Credit {
    type Args = Amount;
    type Out = ();
    type Error = TccError;
    const NAME: &'static str = "credit";

    async fn try_(&self, ctx: &mut ActionContext, _amount: &Amount) -> Result<(), TccError> {
        let closed = sqlx::query("SELECT 1 FROM account WHERE closed");
        match closed.fetch_optional(ctx.connection::<Sqlite>()?).await? {
            Some(_) => Err(TccError::unretryable("the account is closed")),
            None => Ok(()),
        }
    }

    async fn confirm(&self, ctx: &mut ActionContext, amount: Amount) -> Result<(), TccError> {
        execute(ctx, "UPDATE account SET balance = balance + ?1", amount).await
    }

    async fn cancel(&self, _ctx: &mut ActionContext, _: Option<Amount>) -> Result<(), TccError> {
        Ok(())
    }
}

async fn execute(
    ctx: &mut ActionContext,
    sql: &'static str,
    amount: Amount,
) -> Result<(), TccError> {
    let connection = ctx.connection::<Sqlite>()?;
    sqlx::query(sql)
        .bind(amount.cents)
        .execute(connection)
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let coordinator = Server::bind(ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..ServerConfig::default()
    })?;
    let (address, stop) = (coordinator.address().to_string(), coordinator.handle());
    let thread = std::thread::spawn(move || coordinator.run());

    let building = Seata::builder()
        .application("transfer")
        .registry(File::new([address]))
        .build();
    let (seata, background) = building.await?;
    let background = tokio::spawn(background);

    let (anna, ben) = (open(10_000).await?, open(0).await?);
    let debit = seata
        .register_tcc_with(Debit, guarded(&anna).await?)
        .await?;
    let credit = seata
        .register_tcc_with(Credit, guarded(&ben).await?)
        .await?;
    let transfer = |cents| {
        let (debit, credit) = (debit.clone(), credit.clone());
        seata.transaction(TxOptions::new("transfer"), async move |tx| {
            debit.try_in(&tx, Amount { cents }).await?;
            credit.try_in(&tx, Amount { cents }).await
        })
    };

    println!("before:           {}", balances(&anna, &ben).await?);
    transfer(3_000).await?;
    println!("30.00 confirmed:  {}", balances(&anna, &ben).await?);
    sqlx::query("UPDATE account SET closed = TRUE")
        .execute(&ben)
        .await?;
    let Err(failed) = transfer(5_000).await else {
        return Err("a closed account took money".into());
    };
    println!("50.00 cancelled:  {}", balances(&anna, &ben).await?);
    println!("because:          {failed}");

    seata.close(Duration::from_secs(5)).await;
    background.await?;
    stop.drain(Duration::from_secs(1));
    thread.join().map_err(|_| "the coordinator panicked")??;
    Ok(())
}

/// A database with one account.
async fn open(cents: i64) -> Result<SqlitePool, sqlx::Error> {
    // One connection: each other one would have a memory of its own.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect("sqlite::memory:")
        .await?;
    sqlx::query("CREATE TABLE account (balance INTEGER, frozen INTEGER, closed BOOLEAN)")
        .execute(&pool)
        .await?;
    sqlx::query("INSERT INTO account VALUES (?, 0, FALSE)")
        .bind(cents)
        .execute(&pool)
        .await?;
    Ok(pool)
}

/// A fence in the account's own database.
async fn guarded(pool: &SqlitePool) -> Result<TccOptions, Box<dyn std::error::Error>> {
    let fence = Fence::new(pool.clone());
    fence.create_table().await?;
    Ok(TccOptions::new().fence(&fence))
}

async fn balances(anna: &SqlitePool, ben: &SqlitePool) -> Result<String, sqlx::Error> {
    let mut texts = Vec::new();
    for (name, pool) in [("Anna", anna), ("Ben", ben)] {
        let sql = "SELECT balance, frozen FROM account";
        let (balance, frozen): (i64, i64) = sqlx::query_as(sql).fetch_one(pool).await?;
        let euro = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
        texts.push(format!(
            "{name} {} ({} frozen)",
            euro(balance),
            euro(frozen)
        ));
    }
    Ok(texts.join(", "))
}
