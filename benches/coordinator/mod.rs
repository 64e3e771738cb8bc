//! A coordinator in a process of its own, so that what is counted in the benchmark's process is the client's.
//!
//! The benchmark runs itself a second time. [`serve_if_asked`] has to be the first thing that its `main` does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use seamio::tc::server::{Server, ServerConfig};

/// A coordinator that keeps its transactions in memory. It ends with this value.
pub(crate) struct Coordinator {
    process: Child,
    pub(crate) address: String,
}

impl Coordinator {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut process = Command::new(program)
            .arg(ASKED)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let output = process.stdout.take().expect("piped");
        let mut address = String::new();
        BufReader::new(output)
            .read_line(&mut address)
            .expect("an address");
        let address = address.trim().to_owned();
        Self { process, address }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Is the coordinator, when this is the second process, and does not come back then.
pub(crate) fn serve_if_asked() {
    if !std::env::args().any(|argument| argument == ASKED) {
        return;
    }
    let server = Server::bind(ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..ServerConfig::default()
    });
    let server = server.expect("a free port");
    println!("{}", server.address());
    std::io::stdout().flush().expect("a reader");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    server.run().expect("a coordinator");
    std::process::exit(0);
}

const ASKED: &str = "--be-the-coordinator";
