//! An order over three databases that commits or fails as one: the order, the stock and the account, each a database of its own,
//! with a coordinator in the same process.
//!
//! `cargo run --example at_order --features mysql,sqlite` makes three SQLite files. With `-- --mysql URL` it makes three databases on
//! a MySQL or MariaDB, and drops them at the end; without the URL it takes that of `SEAMIO_MYSQL_URL`.
//! `tests/databases/run with cargo run --example at_order --features mysql,sqlite -- --mysql` starts a private MariaDB for it.
//!
//! The second order fails when its stock is taken and its account charged already, in two transactions that are committed by
//! then. The coordinator has them undone.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use seamio::client::at::{self, At, AtOptions, Database};
use seamio::client::{File, GlobalTx, Seata, TxOptions};
use seamio::tc::server::{Server, ServerConfig};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Encode, MySql, Pool, Sqlite, Type};

const ORDERS: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY, pieces BIGINT)";
const STOCK: &str = "CREATE TABLE stock (sku VARCHAR(20) PRIMARY KEY, qty BIGINT); INSERT INTO stock VALUES ('tea', 10)";
const ACCOUNT: &str = "CREATE TABLE account (name VARCHAR(20) PRIMARY KEY, money BIGINT); INSERT INTO account VALUES ('ann', 100)";

/// A database, and what the coordinator knows it by.
struct Place<DB: Database> {
    pool: Pool<DB>,
    id: String,
}

struct Shop<DB: Database> {
    orders: At<DB>,
    stock: At<DB>,
    account: At<DB>,
}

impl<DB: Database> Shop<DB>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    /// Three local transactions, each committed at once.
    async fn place(&self, tx: GlobalTx, id: i64, pieces: i64) -> Result<(), at::Error> {
        let mut branch = self.stock.begin_pooled(&tx).await?;
        let take = at::query("UPDATE stock SET qty = qty - ? WHERE sku = 'tea'").bind(pieces);
        branch.execute(take).await?;
        branch.commit().await?;

        let mut branch = self.account.begin_pooled(&tx).await?;
        let charge = at::query("UPDATE account SET money = money - ? WHERE name = 'ann'");
        branch.execute(charge.bind(pieces * 5)).await?;
        branch.commit().await?;

        // A second order of the same number is refused by the database: the business fails here.
        let mut branch = self.orders.begin_pooled(&tx).await?;
        let order = at::query("INSERT INTO orders (id, pieces) VALUES (?, ?)");
        branch.execute(order.bind(id).bind(pieces)).await?;
        branch.commit().await
    }
}

/// What is shown of a database.
trait Shown: Database {
    async fn number(pool: &Pool<Self>, sql: &'static str) -> Result<i64, sqlx::Error>;
}

impl Shown for Sqlite {
    async fn number(pool: &Pool<Self>, sql: &'static str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(sql).fetch_one(pool).await
    }
}

impl Shown for MySql {
    async fn number(pool: &Pool<Self>, sql: &'static str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(sql).fetch_one(pool).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let url = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => return on_sqlite().await,
        ["--mysql"] => std::env::var("SEAMIO_MYSQL_URL")
            .map_err(|_| "give the URL behind --mysql, or in SEAMIO_MYSQL_URL")?,
        ["--mysql", url] => url.to_owned(),
        _ => return Err("usage: at_order [--mysql [URL]]".into()),
    };
    on_mysql(&url).await
}

async fn on_sqlite() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("seamio-at-order-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let orders = file(&directory, "orders", ORDERS).await?;
    let stock = file(&directory, "stock", STOCK).await?;
    let account = file(&directory, "account", ACCOUNT).await?;
    let sold = sell(orders, stock, account).await;
    std::fs::remove_dir_all(&directory)?;
    sold
}

async fn file(
    directory: &Path,
    name: &str,
    tables: &'static str,
) -> Result<Place<Sqlite>, sqlx::Error> {
    let path = directory.join(format!("{name}.db"));
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(tables).execute(&pool).await?;
    let id = format!("jdbc:sqlite:{}", path.display());
    Ok(Place { pool, id })
}

async fn on_mysql(url: &str) -> Result<(), Box<dyn Error>> {
    let server = MySqlPool::connect(url).await?;
    let orders = database(&server, "orders", ORDERS).await?;
    let stock = database(&server, "stock", STOCK).await?;
    let account = database(&server, "account", ACCOUNT).await?;
    let sold = sell(orders, stock, account).await;
    for name in ["orders", "stock", "account"] {
        let drop = AssertSqlSafe(format!("DROP DATABASE {}", database_name(name)));
        sqlx::raw_sql(drop).execute(&server).await?;
    }
    sold
}

async fn database(
    server: &MySqlPool,
    name: &str,
    tables: &'static str,
) -> Result<Place<MySql>, sqlx::Error> {
    let name = database_name(name);
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(server).await?;
    let options = MySqlConnectOptions::clone(&server.connect_options()).database(&name);
    let id = format!(
        "jdbc:mysql://{}:{}/{name}",
        options.get_host(),
        options.get_port()
    );
    let pool = MySqlPool::connect_with(options).await?;
    sqlx::raw_sql(tables).execute(&pool).await?;
    Ok(Place { pool, id })
}

fn database_name(name: &str) -> String {
    format!("at_order_{}_{name}", std::process::id())
}

async fn sell<DB: Shown>(
    orders: Place<DB>,
    stock: Place<DB>,
    account: Place<DB>,
) -> Result<(), Box<dyn Error>>
where
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
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

    let at = async |place: &Place<DB>| {
        // No Java client shares these databases.
        let options = AtOptions::new(place.id.clone()).create_undo_log();
        seata.at(place.pool.clone(), options.only_seamio()).await
    };
    let shop = Shop {
        orders: at(&orders).await?,
        stock: at(&stock).await?,
        account: at(&account).await?,
    };
    let show = async |when: &str| -> Result<(), sqlx::Error> {
        let qty = DB::number(&stock.pool, "SELECT qty FROM stock").await?;
        let money = DB::number(&account.pool, "SELECT money FROM account").await?;
        let orders = DB::number(&orders.pool, "SELECT COUNT(*) FROM orders").await?;
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
    Ok(())
}
