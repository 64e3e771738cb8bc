//! Global transactions one after the other, by so many tasks at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seamio::client::at::At;
use seamio::client::tcc::{ActionContext, Tcc, TccAction, TccError};
use seamio::client::{Seata, TxOptions};
use serde::{Deserialize, Serialize};
use sqlx::MySql;

use crate::{Application, text};

/// What a transaction does between begin and commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scenario {
    /// Nothing.
    Empty,
    /// One TCC branch.
    Tcc,
    /// One AT branch with one UPDATE by key.
    At,
}

impl Scenario {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "empty" => Ok(Self::Empty),
            "tcc1" => Ok(Self::Tcc),
            "at1" => Ok(Self::At),
            _ => Err(format!("no scenario {name}; there are empty, tcc1, at1")),
        }
    }
}

/// An action that does nothing.
pub(crate) struct Reserve;

#[derive(Serialize, Deserialize)]
pub(crate) struct Reservation {
    item: String,
    quantity: i64,
}

impl TccAction for Reserve {
    type Args = Reservation;
    type Out = ();
    type Error = Infallible;

    const NAME: &'static str = "stockOfOurs";

    async fn try_(&self, _: &mut ActionContext, args: &Reservation) -> Result<(), Infallible> {
        std::hint::black_box((&args.item, args.quantity));
        Ok(())
    }

    async fn confirm(&self, _: &mut ActionContext, args: Reservation) -> Result<(), TccError> {
        std::hint::black_box((args.item, args.quantity));
        Ok(())
    }

    async fn cancel(&self, _: &mut ActionContext, _: Option<Reservation>) -> Result<(), TccError> {
        Ok(())
    }
}

/// What one task needs.
struct Hand {
    seata: Seata,
    action: Arc<Tcc<Reserve>>,
    at: Option<At<MySql>>,
    row: i64,
}

#[derive(Default)]
struct Done {
    micros: Vec<u32>,
    failed: u64,
    complaint: Option<String>,
}

/// Runs transactions until the time is over; answers with the figures as JSON.
pub(crate) async fn run(
    application: &Application,
    scenario: Scenario,
    clients: u32,
    time: Duration,
) -> Result<String, String> {
    if scenario == Scenario::At && application.at.is_none() {
        return Err("no database yet".to_owned());
    }
    let action = Arc::new(application.action.clone());
    let began = now();
    let tasks: Vec<_> = (0..clients)
        .map(|row| {
            let hand = Hand {
                seata: application.seata.clone(),
                action: Arc::clone(&action),
                at: application.at.clone(),
                row: i64::from(row),
            };
            tokio::spawn(hand.work(scenario, began + time))
        })
        .collect();
    let mut all = Done::default();
    for task in tasks {
        let done = task.await.map_err(text)?;
        all.micros.extend(done.micros);
        all.failed += done.failed;
        all.complaint = all.complaint.or(done.complaint);
    }
    let seconds = began.elapsed().as_secs_f64();
    all.micros.sort_unstable();
    let at = |share: f64| {
        let place = (all.micros.len().saturating_sub(1) as f64 * share) as usize;
        all.micros.get(place).copied().unwrap_or(0)
    };
    let figures = serde_json::json!({
        "transactions": all.micros.len(), "failed": all.failed, "seconds": seconds,
        "p50_us": at(0.5), "p99_us": at(0.99), "complaint": all.complaint,
    });
    Ok(figures.to_string())
}

impl Hand {
    async fn work(self, scenario: Scenario, until: Instant) -> Done {
        let mut done = Done::default();
        loop {
            let began = now();
            if began >= until {
                return done;
            }
            match self.transaction(scenario).await {
                Ok(()) => {
                    let micros = began.elapsed().as_micros();
                    done.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
                }
                Err(complaint) => {
                    done.failed += 1;
                    done.complaint.get_or_insert(complaint);
                }
            }
        }
    }

    async fn transaction(&self, scenario: Scenario) -> Result<(), String> {
        let tx = self.seata.begin(TxOptions::new("load")).await;
        let tx = tx.map_err(text)?;
        match scenario {
            Scenario::Empty => {}
            Scenario::Tcc => {
                let args = Reservation {
                    item: "tea".to_owned(),
                    quantity: self.row,
                };
                let tried = self.action.try_in(&tx, args).await;
                tried.map_err(|error| format!("{error:?}"))?;
            }
            Scenario::At => {
                let at = self.at.as_ref().ok_or("no database yet")?;
                let mut branch = at.begin_pooled(&tx).await.map_err(text)?;
                let update = sqlx::query("UPDATE stock SET qty = qty + 1 WHERE id = ?");
                let update = update.bind(self.row).execute(&mut branch).await;
                if update.map_err(text)?.rows_affected() != 1 {
                    return Err("the row is not there".to_owned());
                }
                branch.commit().await.map_err(text)?;
            }
        }
        match tx.commit().await {
            outcome if outcome.is_committed() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

#[allow(clippy::disallowed_methods)] // A benchmark reads the clock.
fn now() -> Instant {
    Instant::now()
}
