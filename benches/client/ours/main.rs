//! An application of ours under load, for benches/client/run.
//!
//! `bench_client ADDRESS`: it obeys lines on standard input and answers each with a line starting "re". Fields are separated by
//! tabs. The Java program beside it obeys the same lines.

mod load;

use std::io::BufRead;
use std::time::Duration;

use seamio::client::at::{At, AtOptions};
use seamio::client::tcc::Tcc;
use seamio::client::{File, Seata};
use sqlx::MySql;
use sqlx::mysql::MySqlPoolOptions;

use load::{Reserve, Scenario};

/// What the orders so far have made.
pub(crate) struct Application {
    pub(crate) seata: Seata,
    pub(crate) action: Tcc<Reserve>,
    pub(crate) at: Option<At<MySql>>,
}

fn main() {
    let address = std::env::args()
        .nth(1)
        .expect("the coordinator's address as argument");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut application = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("orders are text");
        let order: Vec<&str> = line.split('\t').collect();
        match runtime.block_on(obey(&mut application, &address, &order)) {
            Ok(answer) => println!("re\tok\t{answer}"),
            Err(why) => println!("re\terror\tother\t{}", why.replace(['\t', '\n'], " ")),
        }
    }
    std::process::exit(0);
}

async fn obey(
    application: &mut Option<Application>,
    address: &str,
    order: &[&str],
) -> Result<String, String> {
    match (order, application) {
        (["start", name], application) => {
            *application = Some(start(address, name).await?);
            Ok(String::new())
        }
        (["database", url, resource_id, connections], Some(application)) => {
            let connections = connections.parse().map_err(text)?;
            let pool = MySqlPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(60))
                // Java's pool does not ask either when a connection was used just before.
                .test_before_acquire(false);
            let pool = pool.connect(url).await.map_err(text)?;
            let at = application.seata.at(pool, AtOptions::new(*resource_id));
            application.at = Some(at.await.map_err(text)?);
            Ok(String::new())
        }
        (["run", scenario, clients, seconds], Some(application)) => {
            let scenario = Scenario::named(scenario)?;
            let clients = clients.parse().map_err(text)?;
            let seconds = seconds.parse().map_err(text)?;
            let seconds = Duration::try_from_secs_f64(seconds).map_err(text)?;
            load::run(application, scenario, clients, seconds).await
        }
        _ => Err(format!("unknown order {order:?}, or one before its time")),
    }
}

async fn start(address: &str, name: &str) -> Result<Application, String> {
    let built = Seata::builder()
        .application(name)
        .group("interop_group")
        .registry(File::new([address]))
        .build()
        .await;
    let (seata, background) = built.map_err(text)?;
    tokio::spawn(background);
    let action = seata.register_tcc(Reserve).await;
    Ok(Application {
        action: action.map_err(|error| format!("{error:?}"))?,
        seata,
        at: None,
    })
}

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
