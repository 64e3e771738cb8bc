//! `seamio bench`: load for any Seata coordinator, over the wire, as TM and RM at once.
//!
//! One thread drives all connections and virtual clients; phase two is answered at once with success. Beside latencies
//! it checks what the coordinator promised: see [`audit`]. Another coordinator of the same machine shares its cores
//! with this process, so the report tells how much CPU time the generator took.

mod audit;
mod load;
#[cfg(test)]
mod pair;
mod reactor;
mod scenario;
#[cfg(test)]
mod scripted;
mod tally;

use std::time::Duration;

use clap::Args;

use self::load::Plan;
use self::scenario::Scenario;
use super::Exit;
use crate::net::Endpoint;

/// Arguments of `seamio bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// The coordinator
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8091")]
    target: String,
    /// What each transaction does
    #[arg(long, value_enum, default_value = "empty")]
    scenario: Scenario,
    /// Virtual clients: transactions in flight at most
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// TM connections; with branches as many RM connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Transactions per second, whether the coordinator keeps up or not (open loop: latency counts from the moment a
    /// transaction is due) [default: as fast as answers come]
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds before that which do not count
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    warmup: Duration,
    /// Seconds at the end for late answers and phase two
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    settle: Duration,
    /// Seconds that connecting and registering may take
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    connect_within: Duration,
    /// Version that the connections register with; coordinators answer by it
    #[arg(long, value_name = "VERSION", default_value = "1.4.2")]
    client_version: String,
    /// Rows of the hot scenario
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    hot_rows: u64,
    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Prints no progress to standard error
    #[arg(long)]
    quiet: bool,
}

/// Runs a load and reports.
pub(super) fn run(arguments: &BenchArguments) -> Exit {
    let target: Endpoint = match arguments.target.parse() {
        Ok(target) => target,
        Err(error) => {
            eprintln!("seamio: --target: {error}");
            return Exit::Usage;
        }
    };
    let plan = Plan {
        scenario: arguments.scenario,
        clients: arguments.clients as usize,
        connections: arguments.connections as usize,
        rate: arguments.rate,
        warmup: arguments.warmup,
        duration: arguments.duration,
        settle: arguments.settle,
        version: arguments.client_version.clone(),
        hot_rows: arguments.hot_rows,
        salt: reactor::salt(),
    };
    let report = match reactor::run(target, plan, arguments.connect_within, !arguments.quiet) {
        Ok(report) => report,
        Err(problem) => {
            eprintln!("seamio: {problem}");
            return Exit::Failed;
        }
    };
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    if report.passed() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds".to_owned())?;
    if !(0.0..=1e6).contains(&seconds) {
        return Err("expected 0 to 1000000 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if !(0.001..=1e7).contains(&rate) {
        return Err("expected 0.001 to 10000000 per second".to_owned());
    }
    Ok(rate)
}
