//! Requests of reqwest carry the global transaction that they are made in, as a real server sees it.

use std::future::Future;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, reqwest};
use seamio::client::reqwest::Inject;
use seamio::client::{ClientOptions, Incoming, Seata, Start, without_transaction};
use seamio::proto::status::BranchType;

/// Answers with what the headers say.
async fn told(headers: HeaderMap) -> String {
    match Incoming::extract(&headers) {
        Ok(Some(incoming)) => format!("{} {:?}", incoming.xid, incoming.branch_type),
        Ok(None) => "none".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The address of a server that runs until the test ends.
async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/", get(told));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

fn client() -> ClientWithMiddleware {
    let plain = reqwest::Client::builder().no_proxy().build();
    let plain = plain.expect("a client");
    ClientBuilder::new(plain)
        .with(Inject::new(BranchType::Tcc))
        .build()
}

async fn seata() -> Seata {
    let options = ClientOptions {
        start: Start::AtOnce,
        ..ClientOptions::default()
    };
    let builder = Seata::builder().application("test").options(options);
    let (seata, background) = builder.build().await.expect("it waits for nothing");
    tokio::spawn(background);
    seata
}

async fn ask(client: &ClientWithMiddleware, url: &str) -> String {
    let answer = client.get(url).send().await.expect("an answer");
    answer.text().await.expect("text")
}

#[tokio::test]
async fn a_request_carries_the_transaction_that_it_is_made_in() {
    let (url, client, seata) = (serve().await, client(), seata().await);
    assert_eq!(ask(&client, &url).await, "none");
    let tx = seata.join("10.0.0.1:8091:7");
    let within = tx.scope(ask(&client, &url)).await;
    assert_eq!(within, "10.0.0.1:8091:7 Some(Tcc)");
    let outside = tx.scope(without_transaction(ask(&client, &url))).await;
    assert_eq!(outside, "none");
    assert_eq!(ask(&client, &url).await, "none");
}

#[tokio::test]
async fn requests_at_once_carry_each_their_own() {
    let (url, client, seata) = (serve().await, client(), seata().await);
    let of = |id: u32| {
        let tx = seata.join(format!("10.0.0.1:8091:{id}"));
        tx.scope(ask(&client, &url))
    };
    let (first, second) = tokio::join!(of(1), of(2));
    assert_eq!(first, "10.0.0.1:8091:1 Some(Tcc)");
    assert_eq!(second, "10.0.0.1:8091:2 Some(Tcc)");
}

/// A request in a task of its own is in no transaction, unless its future is put in one.
#[tokio::test]
async fn a_spawned_request_carries_what_its_own_scope_says() {
    let (url, client, seata) = (serve().await, client(), seata().await);
    let tx = seata.join("10.0.0.1:8091:7");
    let request = {
        let (client, url) = (client.clone(), url.clone());
        async move { ask(&client, &url).await }
    };
    let spawned = tx.scope(async { spawn(request).await }).await;
    assert_eq!(spawned, "none");
    let request = {
        let (client, url) = (client.clone(), url.clone());
        async move { ask(&client, &url).await }
    };
    let scoped = tx.scope(async { spawn(tx.scope(request)).await }).await;
    assert_eq!(scoped, "10.0.0.1:8091:7 Some(Tcc)");
}

async fn spawn(future: impl Future<Output = String> + Send + 'static) -> String {
    tokio::spawn(future).await.expect("it ends")
}
