//! Who is told of the phases, and the level of isolation that they run at.

use std::str::FromStr;
use std::sync::Arc;

use seamio::client::tcc::{
    ActionContext, Fence, Isolation, TccAction, TccError, TccHook, TccOptions,
};
use seamio::client::{Seata, TxGuard, TxOptions};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{MySql, Postgres};

use crate::fixture::{Coordinator, Log, commit, on_runtime, roll_back};

async fn begin(seata: &Seata) -> TxGuard {
    seata.begin(TxOptions::new("test")).await.expect("begun")
}

/// An action that notes its phases; the try fails when it is told to.
struct Phases(Log<String>);

impl TccAction for Phases {
    type Args = std::collections::BTreeMap<String, String>;
    type Out = ();
    type Error = String;
    const NAME: &'static str = "phases";

    async fn try_(&self, _ctx: &mut ActionContext, args: &Self::Args) -> Result<(), String> {
        self.0.note("try".to_owned());
        match args.get("fails") {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    async fn confirm(&self, _ctx: &mut ActionContext, _args: Self::Args) -> Result<(), TccError> {
        self.0.note("confirm".to_owned());
        Ok(())
    }

    async fn cancel(
        &self,
        _ctx: &mut ActionContext,
        _args: Option<Self::Args>,
    ) -> Result<(), TccError> {
        self.0.note("cancel".to_owned());
        Ok(())
    }
}

/// Notes what it is told, with an argument of the branch.
struct Told(Log<String>);

impl Told {
    fn note(&self, what: &str, ctx: &ActionContext) {
        assert_eq!(ctx.action_name(), "phases");
        assert!(!ctx.xid().is_empty());
        let of: Option<String> = ctx.get("of").expect("text");
        self.0.note(format!("{what} {}", of.expect("an argument")));
    }
}

impl TccHook for Told {
    fn before_try(&self, ctx: &ActionContext) {
        self.note("before try", ctx);
    }
    fn after_try(&self, ctx: &ActionContext) {
        self.note("after try", ctx);
    }
    fn before_confirm(&self, ctx: &ActionContext) {
        self.note("before confirm", ctx);
    }
    fn after_confirm(&self, ctx: &ActionContext) {
        self.note("after confirm", ctx);
    }
    fn before_cancel(&self, ctx: &ActionContext) {
        self.note("before cancel", ctx);
    }
    fn after_cancel(&self, ctx: &ActionContext) {
        self.note("after cancel", ctx);
    }
}

/// A hook that must not be anybody's harm.
struct Panics;

impl TccHook for Panics {
    fn before_try(&self, _: &ActionContext) {
        panic!("as the test says");
    }
    fn after_confirm(&self, _: &ActionContext) {
        panic!("as the test says");
    }
}

fn args(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

#[test]
fn hooks_are_called_around_each_phase() {
    on_runtime(async {
        let coordinator = Coordinator::start();
        let (seata, log) = (coordinator.client().await, Log::new());
        let options = TccOptions::new()
            .hook(Arc::new(Panics))
            .hook(Arc::new(Told(log.clone())));
        let tcc = seata.register_tcc_with(Phases(log.clone()), options).await;
        let tcc = tcc.expect("registered");
        let tx = begin(&seata).await;
        tcc.try_in(&tx, args(&[("of", "a")])).await.expect("tried");
        commit(tx).await;
        log.wait_for(&"after confirm a".to_owned(), 1).await;
        let tx = begin(&seata).await;
        let failed = tcc.try_in(&tx, args(&[("of", "b"), ("fails", "it does")]));
        assert!(failed.await.is_err());
        roll_back(tx).await;
        log.wait_for(&"after cancel b".to_owned(), 1).await;
        let all = [
            "before try a",
            "try",
            "after try a",
            "before confirm a",
            "confirm",
            "after confirm a",
            "before try b",
            "try",
            "after try b",
            "before cancel b",
            "cancel",
            "after cancel b",
        ];
        assert_eq!(log.entries(), all);
    });
}

/// Which database an action asks for its level.
enum Asked {
    MySql(MySqlPool),
    Postgres,
}

/// An action that notes the level that its phases run at.
struct Levels {
    asked: Asked,
    log: Log<String>,
}

impl Levels {
    async fn note(&self, ctx: &mut ActionContext) -> Result<(), TccError> {
        let level: String = match &self.asked {
            // It tells the session's level only; that of the transaction shows in what it sees of others.
            Asked::MySql(others) => {
                let read = "SELECT n FROM tcc_levels_seen";
                let conn = ctx.connection::<MySql>()?;
                let before: i64 = sqlx::query_scalar(read).fetch_one(&mut *conn).await?;
                let change = "UPDATE tcc_levels_seen SET n = n + 1";
                sqlx::query(change).execute(others).await?;
                let after: i64 = sqlx::query_scalar(read).fetch_one(conn).await?;
                match after == before {
                    true => "repeatable read".to_owned(),
                    false => "read committed".to_owned(),
                }
            }
            Asked::Postgres => {
                let sql = "SELECT current_setting('transaction_isolation')";
                let conn = ctx.connection::<Postgres>()?;
                sqlx::query_scalar(sql).fetch_one(conn).await?
            }
        };
        self.log.note(level.to_ascii_uppercase());
        Ok(())
    }
}

impl TccAction for Levels {
    type Args = ();
    type Out = ();
    type Error = TccError;
    const NAME: &'static str = "levels";

    async fn try_(&self, ctx: &mut ActionContext, (): &()) -> Result<(), TccError> {
        self.note(ctx).await
    }

    async fn confirm(&self, ctx: &mut ActionContext, (): ()) -> Result<(), TccError> {
        self.note(ctx).await
    }

    async fn cancel(&self, ctx: &mut ActionContext, _args: Option<()>) -> Result<(), TccError> {
        self.note(ctx).await
    }
}

/// Both phases of a branch, at a level that is not the database's own.
async fn run_at(asked: Asked, fence: Fence, level: Isolation, name: &str) {
    let fence = fence.table("tcc_levels").expect("a name");
    fence.create_table().await.expect("made");
    let coordinator = Coordinator::start();
    let (seata, log) = (coordinator.client().await, Log::new());
    let action = Levels {
        asked,
        log: log.clone(),
    };
    let options = TccOptions::new().fence(&fence).isolation(level);
    let tcc = seata.register_tcc_with(action, options).await;
    let tcc = tcc.expect("registered");
    let tx = begin(&seata).await;
    tcc.try_in(&tx, ()).await.expect("tried");
    commit(tx).await;
    log.wait_for(&name.to_owned(), 2).await;
    let tx = begin(&seata).await;
    tcc.try_in(&tx, ()).await.expect("tried");
    roll_back(tx).await;
    log.wait_for(&name.to_owned(), 4).await;
    assert_eq!(log.entries(), [name; 4]);
}

#[test]
fn phases_run_at_the_level_that_was_asked_for() {
    on_runtime(async {
        match std::env::var("SEAMIO_MYSQL_URL") {
            Ok(url) => {
                let options = MySqlConnectOptions::from_str(&url).expect("a URL");
                let pool = MySqlPoolOptions::new().max_connections(4);
                let pool = pool.connect_with(options).await.expect("a server");
                let table = "DROP TABLE IF EXISTS tcc_levels_seen; \
                    CREATE TABLE tcc_levels_seen (n BIGINT NOT NULL); \
                    INSERT INTO tcc_levels_seen VALUES (0)";
                sqlx::raw_sql(table).execute(&pool).await.expect("a table");
                let asked = Asked::MySql(pool.clone());
                let level = Isolation::ReadCommitted;
                run_at(asked, Fence::new(pool), level, "READ COMMITTED").await;
            }
            Err(_) => println!("SKIPPED: SEAMIO_MYSQL_URL is not set (tests/databases/run up)"),
        }
        match std::env::var("SEAMIO_POSTGRES_URL") {
            Ok(url) => {
                let options = PgConnectOptions::from_str(&url).expect("a URL");
                let pool = PgPoolOptions::new().max_connections(4);
                let pool = pool.connect_with(options).await.expect("a server");
                let level = Isolation::RepeatableRead;
                run_at(Asked::Postgres, Fence::new(pool), level, "REPEATABLE READ").await;
            }
            Err(_) => println!("SKIPPED: SEAMIO_POSTGRES_URL is not set (tests/databases/run up)"),
        }
    });
}
