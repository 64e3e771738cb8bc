//! Two services on axum in one global transaction: the orders call the stock over HTTP, and the transaction goes with the request
//! in the header `TX_XID`. Each has a client and an SQLite file of its own; a coordinator runs in the same process.
//!
//! `cargo run --example axum_order --features sqlite,tower`
//!
//! The second order fails when the stock has answered already and has committed what it took. The coordinator has it undone.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path as Segments, State};
use axum::http::{Request, StatusCode};
use axum::routing::post;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use seamio::client::at::{At, AtOptions};
use seamio::client::tower::{Inject, InjectLayer, JoinLayer};
use seamio::client::{File, GlobalTx, Seata, TxOptions};
use seamio::proto::status::BranchType;
use seamio::tc::server::{Server, ServerConfig};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Row, Sqlite};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

type Failure = Box<dyn Error + Send + Sync>;
type Http = Client<HttpConnector, Body>;

/// The called service. The layer has read the header: the transaction lies in the request's extensions.
fn stock_service(seata: &Seata, stock: At<Sqlite>) -> Router {
    Router::new()
        .route("/take/{pieces}", post(take))
        .layer(JoinLayer::new(seata.clone()))
        .with_state(stock)
}

async fn take(
    State(stock): State<At<Sqlite>>,
    Extension(tx): Extension<GlobalTx>,
    Segments(pieces): Segments<i64>,
) -> Result<(), (StatusCode, String)> {
    let taken = async {
        let mut branch = stock.begin_pooled(&tx).await?;
        sqlx::query("UPDATE stock SET qty = qty - ? WHERE sku = 'tea'")
            .bind(pieces)
            .execute(&mut branch)
            .await?;
        branch.commit().await
    };
    let failed = |error: seamio::client::at::Error| (StatusCode::CONFLICT, error.to_string());
    taken.await.map_err(failed)
}

/// The calling service: begins the transaction, and ends it.
struct Orders {
    seata: Seata,
    orders: At<Sqlite>,
    /// Writes the headers of the current transaction into each request.
    http: Inject<Http>,
    stock: SocketAddr,
}

fn order_service(orders: Orders) -> Router {
    Router::new()
        .route("/order/{id}/{pieces}", post(order))
        .with_state(Arc::new(orders))
}

async fn order(
    State(service): State<Arc<Orders>>,
    Segments((id, pieces)): Segments<(i64, i64)>,
) -> Result<String, (StatusCode, String)> {
    let options = TxOptions::new("place-order");
    let placed = service
        .seata
        .transaction(options, |tx| service.place(tx, id, pieces));
    match placed.await {
        Ok(()) => Ok("ordered".to_owned()),
        Err(error) => Err((StatusCode::CONFLICT, error.to_string())),
    }
}

impl Orders {
    async fn place(&self, tx: GlobalTx, id: i64, pieces: i64) -> Result<(), Failure> {
        let request = post_request(self.stock, &format!("/take/{pieces}"))?;
        let response = self.http.clone().oneshot(request).await?;
        if !response.status().is_success() {
            return Err(format!("the stock said {}", response.status()).into());
        }

        // A second order of the same number is refused by the database: the business fails here.
        let mut branch = self.orders.begin_pooled(&tx).await?;
        sqlx::query("INSERT INTO orders (id, pieces) VALUES (?, ?)")
            .bind(id)
            .bind(pieces)
            .execute(&mut branch)
            .await?;
        Ok(branch.commit().await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let coordinator = Server::bind(ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..ServerConfig::default()
    })?;
    let (address, stop) = (coordinator.address(), coordinator.handle());
    let coordinating = std::thread::spawn(move || coordinator.run());
    let directory = std::env::temp_dir().join(format!("seamio-axum-order-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let http: Http = Client::builder(TokioExecutor::new()).build_http();

    let table =
        "CREATE TABLE stock (sku TEXT PRIMARY KEY, qty INT); INSERT INTO stock VALUES ('tea', 10)";
    let stock_rows = open(&directory, "stock", table).await?;
    let stock_seata = client(address, "stock").await?;
    let options = at_options(&directory, "stock");
    let stock = stock_seata.at(stock_rows.clone(), options).await?;
    let stock = serve(stock_service(&stock_seata, stock)).await?;

    let table = "CREATE TABLE orders (id INTEGER PRIMARY KEY, pieces INT)";
    let order_rows = open(&directory, "orders", table).await?;
    let order_seata = client(address, "orders").await?;
    let options = at_options(&directory, "orders");
    let service = serve(order_service(Orders {
        seata: order_seata.clone(),
        orders: order_seata.at(order_rows.clone(), options).await?,
        http: InjectLayer::new(BranchType::At).layer(http.clone()),
        stock,
    }))
    .await?;

    let show = async |when: &str| -> Result<(), sqlx::Error> {
        let qty = number(&stock_rows, "SELECT qty FROM stock").await?;
        let orders = number(&order_rows, "SELECT COUNT(*) FROM orders").await?;
        println!("{when}: tea {qty}, orders {orders}");
        Ok(())
    };
    let buy = async |path: &str| -> Result<String, Failure> {
        let response = http.request(post_request(service, path)?).await?;
        let status = response.status();
        let text = to_bytes(Body::new(response.into_body()), 64 << 10).await?;
        Ok(format!("{status}, {}", String::from_utf8_lossy(&text)))
    };
    show("before").await?;
    println!("first order: {}", buy("/order/1/3").await?);
    show("first order committed").await?;
    println!("second order: {}", buy("/order/1/4").await?);
    show("second order undone").await?;

    order_seata.close(Duration::from_secs(5)).await;
    stock_seata.close(Duration::from_secs(5)).await;
    stop.drain(Duration::from_secs(5));
    coordinating
        .join()
        .map_err(|_| "the coordinator panicked")??;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// A client of the coordinator, whose second phases run in the background.
async fn client(coordinator: SocketAddr, application: &str) -> Result<Seata, Failure> {
    let builder = Seata::builder()
        .application(application)
        .registry(File::new([coordinator.to_string()]));
    let (seata, background) = builder.build().await?;
    tokio::spawn(background);
    Ok(seata)
}

/// Serves on a free port, which is given.
async fn serve(service: Router) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

fn post_request(service: SocketAddr, path: &str) -> Result<Request<Body>, Failure> {
    let request = Request::post(format!("http://{service}{path}"));
    Ok(request.body(Body::empty())?)
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

fn at_options(directory: &Path, name: &str) -> AtOptions {
    let file = directory.join(format!("{name}.db"));
    // No Java client shares these files.
    AtOptions::new(format!("jdbc:sqlite:{}", file.display()))
        .create_undo_log()
        .only_seamio()
}

async fn number(pool: &SqlitePool, sql: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(sql).fetch_one(pool).await?.try_get(0)
}
