//! An application of ours that takes part in global transactions with Java and Go ones, for tests/interop/mixed/run.
//!
//! `mixed_peer ADDRESS`: it obeys lines on standard input, answers each with a line starting "re", and tells of each phase of
//! its TCC action with a line starting "call". Fields are separated by tabs. The Java program beside it obeys the same lines.

mod database;
mod stock;

use std::collections::HashMap;
use std::fmt::Display;
use std::io::BufRead;
use std::time::Duration;

use seamio::client::tcc::{Tcc, TryError};
use seamio::client::{ClientOptions, File, Outcome, Seata, TxGuard, TxOptions};
use seamio::proto::status::GlobalStatus;

use database::Database;
use stock::{Reservation, Stock};

/// Why an order was not carried out: a kind that the driver tells apart, and a text for the reader.
pub(crate) struct Refusal {
    kind: &'static str,
    text: String,
}

impl Refusal {
    pub(crate) fn conflict(text: impl Display) -> Self {
        Self {
            kind: "conflict",
            text: text.to_string(),
        }
    }

    pub(crate) fn other(text: impl Display) -> Self {
        Self {
            kind: "other",
            text: text.to_string(),
        }
    }
}

/// Warnings and errors of the client, on standard error.
struct Complaints;

impl log::Log for Complaints {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{} {} {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}

/// What the orders so far have made.
#[derive(Default)]
struct Peer {
    seata: Option<Seata>,
    action: Option<Tcc<Stock>>,
    databases: HashMap<String, Database>,
    begun: HashMap<String, TxGuard>,
}

fn main() {
    let address = std::env::args()
        .nth(1)
        .expect("the coordinator's address as argument");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    log::set_logger(&Complaints).expect("no other logger");
    log::set_max_level(log::LevelFilter::Warn);
    let mut peer = Peer::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("orders are text");
        let order: Vec<&str> = line.split('\t').collect();
        match runtime.block_on(peer.obey(&address, &order)) {
            Ok(answer) => tell(&["re", "ok", &answer]),
            Err(refusal) => tell(&["re", "error", refusal.kind, &refusal.text]),
        }
    }
    // What it began and did not end shall look as if it had been killed.
    std::process::exit(0);
}

impl Peer {
    async fn obey(&mut self, address: &str, order: &[&str]) -> Result<String, Refusal> {
        match order {
            ["start", application] => self.start(address, application).await,
            ["action"] => {
                let registered = self.seata()?.register_tcc(Stock).await;
                self.action = Some(registered.map_err(debug)?);
                Ok(String::new())
            }
            ["database", name, url, resource_id, dialect @ ..] => {
                let opened = Database::open(self.seata()?, url, resource_id, dialect).await?;
                let resource_id = opened.resource_id().to_owned();
                self.databases.insert((*name).to_owned(), opened);
                Ok(resource_id)
            }
            ["begin", name, timeout_ms] => {
                let timeout = timeout_ms.parse().map(Duration::from_millis);
                let options = TxOptions::new(*name).timeout(timeout.map_err(debug)?);
                let tx = self.seata()?.begin(options).await.map_err(Refusal::other)?;
                let xid = tx.xid().to_string();
                self.begun.insert(xid.clone(), tx);
                Ok(xid)
            }
            ["commit", xid] => Ok(spoken(self.ended(xid)?.commit().await)),
            ["rollback", xid] => Ok(spoken(self.ended(xid)?.rollback().await)),
            ["try", xid, item, quantity] => {
                let action = self.action.as_ref();
                let action = action.ok_or_else(|| Refusal::other("no action yet"))?;
                let tx = self.seata()?.join(*xid);
                let reservation = Reservation {
                    item: (*item).to_owned(),
                    quantity: quantity.parse().map_err(debug)?,
                };
                let tried = action.try_in(&tx, reservation).await;
                tried.map_err(|error: TryError<_>| debug(error))?;
                Ok(String::new())
            }
            ["local", xid, name, statements @ ..] => {
                let tx = self.seata()?.join(*xid);
                self.database(name)?.local(&tx, statements).await
            }
            ["select", xid, name, sql] => {
                let tx = self.seata()?.join(*xid);
                self.database(name)?.select(&tx, sql).await
            }
            _ => Err(Refusal::other(format!("unknown order {order:?}"))),
        }
    }

    async fn start(&mut self, address: &str, application: &str) -> Result<String, Refusal> {
        let built = Seata::builder()
            .application(application)
            .group("interop_group")
            .registry(File::new([address]))
            .options(ClientOptions::default())
            .build()
            .await;
        let (seata, background) = built.map_err(Refusal::other)?;
        tokio::spawn(background);
        self.seata = Some(seata);
        Ok(String::new())
    }

    fn seata(&self) -> Result<&Seata, Refusal> {
        let seata = self.seata.as_ref();
        seata.ok_or_else(|| Refusal::other("not started yet"))
    }

    fn ended(&mut self, xid: &str) -> Result<TxGuard, Refusal> {
        let begun = self.begun.remove(xid);
        begun.ok_or_else(|| Refusal::other(format!("{xid} was not begun here")))
    }

    fn database(&self, name: &str) -> Result<&Database, Refusal> {
        let found = self.databases.get(name);
        found.ok_or_else(|| Refusal::other(format!("no database {name} here")))
    }
}

/// A status as the Java client names it.
fn spoken(outcome: Outcome) -> String {
    match outcome {
        Outcome::Committed { status } => name(status),
        Outcome::RolledBack { status, .. } => name(status),
        Outcome::Unknown { error, .. } => format!("unknown: {error}"),
    }
}

fn name(status: GlobalStatus) -> String {
    format!("{status:?}")
}

pub(crate) fn debug(error: impl std::fmt::Debug) -> Refusal {
    Refusal::other(format!("{error:?}"))
}

/// One line, in one piece whoever else is speaking.
pub(crate) fn tell(fields: &[&str]) {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| field.replace(['\t', '\n', '\r'], " "))
        .collect();
    println!("{}", fields.join("\t"));
}
