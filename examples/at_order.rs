//! An order over three databases that commits or fails as one: the order, the stock and the account, each an SQLite file of its
//! own, with a coordinator in the same process.
//!
//! `cargo run --example at_order --features sqlite`
//!
//! The second order fails when its stock is taken and its account charged already, in two transactions that are committed by
//! then. The coordinator has them undone.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use seamio::client::at::{self, At, AtOptions};
use seamio::client::{File, GlobalTx, Seata, TxOptions};
use seamio::tc::server::{Server, ServerConfig};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Row, Sqlite};

struct Shop {
    orders: At<Sqlite>,
    stock: At<Sqlite>,
    account: At<Sqlite>,
}

impl Shop {
    /// Three local transactions, each committed at once.
    async fn place(&self, tx: GlobalTx, id: i64, pieces: i64) -> Result<(), at::Error> {
        let mut branch = self.stock.begin_pooled(&tx).await?;
        sqlx::query("UPDATE stock SET qty = qty - ? WHERE sku = 'tea'")
            .bind(pieces)
            .execute(&mut branch)
            .await?;
        branch.commit().await?;

        let mut branch = self.account.begin_pooled(&tx).await?;
        sqlx::query("UPDATE account SET money = money - ? WHERE name = 'ann'")
            .bind(pieces * 5)
            .execute(&mut branch)
            .await?;
        branch.commit().await?;

        // A second order of the same number is refused by the database: the business fails here.
        let mut branch = self.orders.begin_pooled(&tx).await?;
        sqlx::query("INSERT INTO orders (id, pieces) VALUES (?, ?)")
            .bind(id)
            .bind(pieces)
            .execute(&mut branch)
            .await?;
        branch.commit().await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::bind(ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..ServerConfig::default()
    })?;
    let (address, coordinator) = (server.address(), server.handle());
    let coordinating = std::thread::spawn(move || server.run());
    let (seata, background) = Seata::builder()
        .application("shop")
        .registry(File::new([address.to_string()]))
        .build()
        .await?;
    // Second phases run here.
    tokio::spawn(background);

    let directory = std::env::temp_dir().join(format!("seamio-at-order-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let orders = open(
        &directory,
        "orders",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, pieces INT)",
    )
    .await?;
    let stock = open(
        &directory,
        "stock",
        "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty INT); INSERT INTO stock VALUES ('tea', 10)",
    )
    .await?;
    let account = open(&directory, "account", "CREATE TABLE account (name TEXT PRIMARY KEY, money INT); INSERT INTO account VALUES ('ann', 100)").await?;
    let shop = Shop {
        orders: seata
            .at(orders.clone(), options(&directory, "orders"))
            .await?,
        stock: seata
            .at(stock.clone(), options(&directory, "stock"))
            .await?,
        account: seata
            .at(account.clone(), options(&directory, "account"))
            .await?,
    };
    let show = async |when: &str| -> Result<(), sqlx::Error> {
        let qty = number(&stock, "SELECT qty FROM stock").await?;
        let money = number(&account, "SELECT money FROM account").await?;
        let orders = number(&orders, "SELECT COUNT(*) FROM orders").await?;
        println!("{when}: tea {qty}, money {money}, orders {orders}");
        Ok(())
    };

    show("before").await?;
    let shop = &shop;
    let first = seata.transaction(TxOptions::new("first"), |tx| shop.place(tx, 1, 3));
    first.await?;
    show("first order committed").await?;
    let second = seata.transaction(TxOptions::new("second"), |tx| shop.place(tx, 1, 4));
    match second.await {
        Ok(()) => println!("the second order was to fail"),
        Err(error) => println!("second order: {error}"),
    }
    show("second order undone").await?;

    seata.close(Duration::from_secs(5)).await;
    coordinator.drain(Duration::from_secs(5));
    let _ = coordinating.join();
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn open(
    directory: &Path,
    name: &str,
    tables: &'static str,
) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join(format!("{name}.db")))
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(tables).execute(&pool).await?;
    Ok(pool)
}

fn options(directory: &Path, name: &str) -> AtOptions {
    let file = directory.join(format!("{name}.db"));
    // No Java client shares these files.
    AtOptions::new(format!("jdbc:sqlite:{}", file.display()))
        .create_undo_log()
        .only_seamio()
}

async fn number(pool: &SqlitePool, sql: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(sql).fetch_one(pool).await?.try_get(0)
}
