//! What the server, this process and the machine did between two moments, from `/proc`.

use std::fs;

use seamio_echo::{nanos, now};

use crate::report::Fields;

/// One look.
pub(crate) struct Watch {
    at: u64,
    own: u64,
    server: Option<Usage>,
    cores: Vec<Core>,
    stalled_micros: u64,
    server_pid: Option<u32>,
}

/// Of one process, all threads.
#[derive(Default)]
struct Usage {
    cpu_nanos: u64,
    user_ticks: u64,
    system_ticks: u64,
    voluntary: u64,
    involuntary: u64,
    threads: u64,
    resident_kib: u64,
}

/// Of one core, in ticks of 10 ms.
struct Core {
    busy: u64,
    steal: u64,
    all: u64,
}

impl Watch {
    /// Looks now.
    pub(crate) fn look(server_pid: Option<u32>) -> Self {
        Watch {
            server: server_pid.map(Usage::of),
            cores: cores(),
            stalled_micros: stalled_micros(),
            own: nanos(libc::CLOCK_PROCESS_CPUTIME_ID),
            at: now(),
            server_pid,
        }
    }

    /// What happened since, for `messages` messages. Times in nanoseconds of CPU.
    pub(crate) fn since(&self, messages: u64) -> Fields {
        let then = Watch::look(self.server_pid);
        let nanos = (then.at - self.at) as f64;
        let messages = messages.max(1) as f64;
        let mut fields = Fields::default();
        fields.number("seconds", nanos / 1e9);
        let own = (then.own - self.own) as f64;
        fields.number("generator_cpu", own / messages);
        fields.number("generator_busy", own / nanos);
        let mut ours = own;
        if let (Some(a), Some(b)) = (&self.server, &then.server) {
            let cpu = b.cpu_nanos.saturating_sub(a.cpu_nanos) as f64;
            ours += cpu;
            let (user, system) = (b.user_ticks - a.user_ticks, b.system_ticks - a.system_ticks);
            let share = user as f64 / (user + system).max(1) as f64;
            fields.number("cpu", cpu / messages);
            fields.number("cpu_user", cpu * share / messages);
            fields.number("cpu_system", cpu * (1.0 - share) / messages);
            fields.number("server_busy", cpu / nanos);
            let switches = |a: u64, b: u64| b.saturating_sub(a) as f64 / messages;
            fields.number("voluntary", switches(a.voluntary, b.voluntary));
            fields.number("involuntary", switches(a.involuntary, b.involuntary));
            fields.number("threads", b.threads as f64);
            fields.number("resident_kib", b.resident_kib as f64);
        }
        let cores = self.cores.iter().zip(&then.cores);
        let steal = cores
            .clone()
            .map(|(a, b)| b.steal.saturating_sub(a.steal))
            .sum::<u64>();
        let all = cores
            .clone()
            .map(|(a, b)| b.all.saturating_sub(a.all))
            .sum::<u64>();
        let busy = cores
            .map(|(a, b)| b.busy.saturating_sub(a.busy))
            .sum::<u64>();
        fields.number("steal", steal as f64 / all.max(1) as f64);
        // Of one core, as the rule has it.
        fields.number(
            "foreign",
            (busy as f64 * TICK_NANOS - ours).max(0.0) / nanos,
        );
        let stalled = then.stalled_micros.saturating_sub(self.stalled_micros);
        fields.number("stalled", stalled as f64 * 1e3 / nanos);
        fields
    }
}

impl Usage {
    fn of(pid: u32) -> Self {
        let mut usage = Usage::default();
        // Of the process as a whole, so that threads which ended are in it.
        if let Some((_, rest)) = read(&format!("/proc/{pid}/stat")).rsplit_once(") ") {
            let field = |n: usize| rest.split(' ').nth(n - 3).and_then(|f| f.parse().ok());
            usage.user_ticks = field(14).unwrap_or(0);
            usage.system_ticks = field(15).unwrap_or(0);
            usage.threads = field(20).unwrap_or(0);
        }
        usage.resident_kib = number_after(&read(&format!("/proc/{pid}/status")), "VmRSS:");
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let task = task.path();
            let times = read(&format!("{}/schedstat", task.display()));
            let first = times.split(' ').next().and_then(|n| n.parse().ok());
            usage.cpu_nanos += first.unwrap_or(0u64);
            let status = read(&format!("{}/status", task.display()));
            usage.voluntary += number_after(&status, "\nvoluntary_ctxt_switches:");
            usage.involuntary += number_after(&status, "nonvoluntary_ctxt_switches:");
        }
        usage
    }
}

fn cores() -> Vec<Core> {
    let text = read("/proc/stat");
    let lines = text
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("cpu"));
    let core = |line: &str| {
        let n: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .flat_map(str::parse)
            .collect();
        let n = |i: usize| n.get(i).copied().unwrap_or(0);
        // user nice system idle iowait irq softirq steal
        let busy = n(0) + n(1) + n(2) + n(5) + n(6);
        Core {
            busy,
            steal: n(7),
            all: busy + n(3) + n(4) + n(7),
        }
    };
    lines.map(core).collect()
}

/// How long some task waited for a core, since the machine started.
fn stalled_micros() -> u64 {
    number_after(&read("/proc/pressure/cpu"), "total=")
}

fn number_after(text: &str, name: &str) -> u64 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    let digits = rest
        .trim_start()
        .split(|c: char| !c.is_ascii_digit())
        .next();
    digits.and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

const TICK_NANOS: f64 = 1e7;
