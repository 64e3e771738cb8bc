//! Counts and latencies of a run, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::audit::Verdict;

/// Latencies of one kind, in µs up to a minute, three digits exact.
#[derive(Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn clear(&mut self) {
        self.0.reset();
    }

    /// In ms.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    fn max(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    fn json(&self) -> Value {
        json!({
            "count": self.count(),
            "mean_ms": self.0.mean() / 1000.0,
            "p50_ms": self.quantile(0.5),
            "p99_ms": self.quantile(0.99),
            "p999_ms": self.quantile(0.999),
            "max_ms": self.max(),
        })
    }
}

/// What was measured after the warm-up.
#[derive(Debug)]
pub(super) struct Tally {
    /// Begin, from sending to its answer.
    pub(super) begin: Latency,
    /// Branch registrations.
    pub(super) register: Latency,
    /// Commit or rollback.
    pub(super) end: Latency,
    /// The whole transaction; in an open loop from the time it was due.
    pub(super) total: Latency,
    /// Transactions that were answered as they should.
    pub(super) completed: u64,
    /// Transactions that were not, by step and reason.
    pub(super) errors: BTreeMap<String, u64>,
    /// Registrations that met a lock and were tried again.
    pub(super) conflicts: u64,
    /// Phase-two calls answered.
    pub(super) calls: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            begin: Latency::new(),
            register: Latency::new(),
            end: Latency::new(),
            total: Latency::new(),
            completed: 0,
            errors: BTreeMap::new(),
            conflicts: 0,
            calls: 0,
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// All of a finished run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) target: String,
    pub(super) scenario: String,
    pub(super) clients: usize,
    pub(super) connections: usize,
    /// Per second; None in a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) warmup: Duration,
    /// Time measured.
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
    pub(super) verdict: Verdict,
    /// Transactions of the open loop that were due and never started.
    pub(super) unstarted: u64,
    /// Connections lost.
    pub(super) lost_connections: u64,
    /// CPU time of this process over the whole run, if the system tells.
    pub(super) own_cpu: Option<Duration>,
}

impl Report {
    /// Every promise was kept, and something was measured at all.
    pub(super) fn passed(&self) -> bool {
        self.verdict.passed() && self.tally.completed > 0
    }

    fn per_second(&self) -> f64 {
        self.tally.completed as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn latencies(&self) -> [(&'static str, &Latency); 4] {
        let tally = &self.tally;
        [
            ("begin", &tally.begin),
            ("register", &tally.register),
            ("end", &tally.end),
            ("total", &tally.total),
        ]
    }

    /// One object.
    pub(super) fn json(&self) -> Value {
        let verdict = &self.verdict;
        let mut object = json!({
            "target": self.target,
            "scenario": self.scenario,
            "clients": self.clients,
            "connections": self.connections,
            "rate": self.rate,
            "warmup_s": self.warmup.as_secs_f64(),
            "duration_s": self.elapsed.as_secs_f64(),
            "transactions": self.tally.completed,
            "per_second": self.per_second(),
            "errors": self.tally.errors,
            "failed": self.tally.failed(),
            "lock_conflicts": self.tally.conflicts,
            "unstarted": self.unstarted,
            "lost_connections": self.lost_connections,
            "phase_two": {
                "branches": verdict.branches,
                "calls": self.tally.calls,
                "missing": verdict.missing,
                "wrong": verdict.wrong,
                "out_of_order": verdict.out_of_order,
                "unknown_branches": verdict.strangers,
                "repeats": verdict.repeats,
            },
            "own_cpu_s": self.own_cpu.map(|cpu| cpu.as_secs_f64()),
            "passed": self.passed(),
        });
        for (name, latency) in self.latencies() {
            if latency.count() > 0 {
                object[name] = latency.json();
            }
        }
        object
    }

    /// A table.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, f: &mut String) -> std::fmt::Result {
        let how = match self.rate {
            Some(rate) => format!("open loop at {rate}/s"),
            None => "closed loop".to_string(),
        };
        writeln!(
            f,
            "{} against {}: {} clients on {} connections, {how}, {:.1} s after {:.1} s warm-up",
            self.scenario,
            self.target,
            self.clients,
            self.connections,
            self.elapsed.as_secs_f64(),
            self.warmup.as_secs_f64()
        )?;
        writeln!(
            f,
            "{} transactions, {:.0}/s",
            self.tally.completed,
            self.per_second()
        )?;
        writeln!(
            f,
            "{:>10} {:>10} {:>10} {:>10} {:>10} {:>12}",
            "ms", "p50", "p99", "p99.9", "max", "count"
        )?;
        for (name, latency) in self.latencies() {
            if latency.count() > 0 {
                writeln!(
                    f,
                    "{name:>10} {:>10.3} {:>10.3} {:>10.3} {:>10.3} {:>12}",
                    latency.quantile(0.5),
                    latency.quantile(0.99),
                    latency.quantile(0.999),
                    latency.max(),
                    latency.count()
                )?;
            }
        }
        for (reason, count) in &self.tally.errors {
            writeln!(f, "error: {count} × {reason}")?;
        }
        if self.tally.conflicts + self.unstarted + self.lost_connections > 0 {
            writeln!(
                f,
                "{} lock conflicts tried again, {} transactions never started, {} connections lost",
                self.tally.conflicts, self.unstarted, self.lost_connections
            )?;
        }
        if let Some(cpu) = self.own_cpu {
            writeln!(
                f,
                "the generator itself took {:.2} s of CPU time",
                cpu.as_secs_f64()
            )?;
        }
        let verdict = &self.verdict;
        writeln!(
            f,
            "check {}: {} branches, {} not called, {} called wrongly, {} out of order, {} called again, {} calls for \
             branches of others",
            if self.passed() { "passed" } else { "FAILED" },
            verdict.branches,
            verdict.missing,
            verdict.wrong,
            verdict.out_of_order,
            verdict.repeats,
            verdict.strangers
        )
    }
}

/// CPU time this process has used so far. None where the system has no `/proc`.
pub(super) fn own_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name in brackets may hold blanks; user and system time are the 12th and 13th field behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Of `/proc`, on every Linux that matters.
const TICKS_PER_SECOND: u64 = 100;
