//! Every example runs by the command its head names, says what it is there to say, and ends.
//!
//! Nothing is said about times: what the examples print of them is looked at by people.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// An example that was started. Killed when it is not waited for.
struct Example {
    name: &'static str,
    child: Child,
    out: BufReader<ChildStdout>,
    /// Dropped with it, which ends the watch over it.
    _watched: Sender<()>,
}

/// For an example to be built and to end: much longer than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(900);

/// Whether this was built with all features.
const WHOLE: bool = cfg!(all(
    feature = "server",
    feature = "sql-store",
    feature = "tower",
    feature = "reqwest",
    feature = "mysql",
    feature = "postgres",
    feature = "sqlite",
    feature = "sim",
    feature = "ws",
    feature = "compress",
    feature = "tls"
));

/// Ends a process that does not end, so that who reads its output sees an end.
fn watch(process: u32) -> Sender<()> {
    let (watched, gone) = mpsc::channel();
    std::thread::spawn(move || {
        if gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = Command::new("kill")
                .args(["-9", &process.to_string()])
                .status();
        }
    });
    watched
}

impl Example {
    fn start(name: &'static str, args: &[&str]) -> Example {
        Example::start_with(name, &[], args)
    }

    fn start_with(name: &'static str, options: &[&str], args: &[&str]) -> Example {
        // With all features it has been built with the tests.
        let options = if WHOLE { &["--all-features"] } else { options };
        let mut child = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--example", name])
            .args(options)
            .arg("--")
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let _watched = watch(child.id());
        Example {
            name,
            child,
            out,
            _watched,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "{} ended after {line:?}", self.name);
        line.trim_end().to_owned()
    }

    /// What it prints until it ends by itself, which must be in order.
    fn finish(mut self) -> String {
        let mut text = String::new();
        self.out.read_to_string(&mut text).expect("text");
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "{}: {status}\n{text}", self.name);
        text
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // `cargo run` replaces itself by the example, so this ends the example. One that has ended stays so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(name: &'static str) -> String {
    Example::start(name, &[]).finish()
}

#[track_caller]
fn assert_says(text: &str, phrases: &[&str]) {
    for phrase in phrases {
        assert!(text.contains(phrase), "nothing of {phrase:?} in:\n{text}");
    }
}

#[test]
fn echo_and_its_client() {
    for workers in ["0", "2"] {
        let args = ["--listen", "127.0.0.1:0", "--workers", workers];
        let mut server = Example::start("echo", &args);
        let line = server.line();
        let address = line.strip_prefix("listening on ").expect("an address");
        let text = Example::start("echo_client", &["--connect", address]).finish();
        assert_says(&text, &["connected", "round 10: ", "frames_out: 10"]);
    }
}

#[test]
fn embed_epoll_serves_inside_a_foreign_loop() {
    let text = run("embed_epoll");
    assert_says(&text, &["DescriptorTellsAll", "HostAsks"]);
    let answers: Vec<u32> = text
        .lines()
        .filter_map(|l| l.split_once(" turns for ")?.1.strip_suffix(" answers"))
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert_eq!(answers.len(), 2, "{text}");
    assert!(answers.iter().all(|n| *n > 0), "{text}");
}

#[test]
fn embedded_tc_starts_and_stops() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded_tc");
    let text = Example::start("embedded_tc", &[folder.to_str().expect("a path")]).finish();
    assert_says(&text, &["coordinating at 127.0.0.1:", "0 undecided"]);
}

#[test]
fn game_tick_plays_to_the_end() {
    let text = run("game_tick");
    assert_says(
        &text,
        &["frame 60: ", "frame 180: 50 players", "50 bots saw "],
    );
    assert!(!text.contains("saw 0 updates"), "{text}");
}

#[test]
fn rpc_shows_every_way_to_an_answer() {
    let text = run("rpc");
    assert_says(
        &text,
        &[
            "waiting:  ONE",
            "callback: TWO",
            r#"future:   ("FOUR", "THREE")"#,
            "timeout:  no answer in time",
            "came late and was dropped",
            "restart:  session closed",
            "AGAIN",
        ],
    );
}

#[test]
fn shared_port_counts_every_connection() {
    let text = run("shared_port");
    let sessions: usize = text
        .lines()
        .filter_map(|l| {
            l.strip_prefix("reactor ")?
                .split_once(": ")?
                .1
                .split(' ')
                .next()
        })
        .map(|n| n.parse::<usize>().expect("a number"))
        .sum();
    assert_eq!(sessions, 400, "{text}");
}

#[test]
fn spin_compares_both_strategies() {
    let text = run("spin");
    assert_says(&text, &["p99", "Block ", "Spin(1 ms) ", "polls and"]);
}

#[test]
fn tcc_transfer_confirms_one_and_cancels_one() {
    let text = Example::start_with("tcc_transfer", &["--features", "client,sqlite"], &[]).finish();
    assert_says(
        &text,
        &[
            "before:           Anna 100.00 (0.00 frozen), Ben 0.00 (0.00 frozen)",
            "30.00 confirmed:  Anna 70.00 (0.00 frozen), Ben 30.00 (0.00 frozen)",
            "50.00 cancelled:  Anna 70.00 (0.00 frozen), Ben 30.00 (0.00 frozen)",
            "the account is closed",
        ],
    );
}

#[test]
fn udp_echo_is_answered() {
    let text = run("udp_echo");
    assert_says(&text, &["1000 questions, ", "server: "]);
    assert!(!text.contains(" 0 answers"), "{text}");
}

#[test]
fn unix_echo_knows_who_asks() {
    let text = run("unix_echo");
    let phrases = [
        "echo.sock, permissions 600",
        "unix-1.0 unix:///",
        "are Some(",
        "path is gone",
    ];
    assert_says(&text, &phrases);
}

#[test]
fn wss_chat_lets_everybody_hear() {
    let text = Example::start_with("wss_chat", &["--features", "tls,ws"], &[]).finish();
    assert_says(
        &text,
        &[
            "Some(V1_3)",
            "to Bob: Cid: hello from Cid",
            "3 guests heard it all",
        ],
    );
}

#[test]
fn at_order_undoes_what_was_committed() {
    let features = ["--features", "mysql,sqlite"];
    let mut ways: Vec<&[&str]> = vec![&[]];
    match std::env::var("SEAMIO_MYSQL_URL") {
        Ok(_) => ways.push(&["--mysql"]),
        Err(_) => {
            println!("SKIPPED: SEAMIO_MYSQL_URL is not set (tests/databases/run up)");
        }
    }
    for way in ways {
        let said = Example::start_with("at_order", &features, way).finish();
        assert_says(
            &said,
            &[
                "before: tea 10, money 100, orders 0",
                "first order committed: tea 7, money 85, orders 1",
                "second order: rolled back",
                "second order undone: tea 7, money 85, orders 1",
            ],
        );
    }
}

#[test]
fn axum_order_carries_the_transaction_to_the_other_service() {
    let example = Example::start_with("axum_order", &["--features", "sqlite,tower"], &[]);
    let said = example.finish();
    assert_says(
        &said,
        &[
            "before: tea 10, orders 0",
            "first order: 200 OK, ordered",
            "first order committed: tea 7, orders 1",
            "second order: 409 Conflict, rolled back",
            "UNIQUE constraint failed",
            "second order undone: tea 7, orders 1",
        ],
    );
}

/// An example without a test would rot.
#[test]
fn every_example_is_run_here() {
    let here = include_str!("examples.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(here.contains(&format!("\"{name}\"")), "no test runs {name}");
    }
}
