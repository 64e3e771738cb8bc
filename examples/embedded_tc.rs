//! A coordinator inside a host program: starts it on a free port with a journal, and stops it in an orderly way.
//!
//! `cargo run --example embedded_tc -- DIR`, then point any Seata client at the address it prints and press Enter to
//! stop. What was not decided by then is still in DIR at the next start.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use seamio::tc::server::{Server, ServerConfig, StoreChoice};

fn main() -> Result<(), seamio::Error> {
    let directory = std::env::args()
        .nth(1)
        .map_or_else(|| PathBuf::from("data"), PathBuf::from);
    let server = Server::bind(ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        store: StoreChoice::Journal(directory),
        // 0: the coordinator runs on the thread that calls `run`, beside the sockets.
        workers: 0,
        ..ServerConfig::default()
    })?;
    println!(
        "coordinating at {}, {} transactions recovered",
        server.address(),
        server.recovered()
    );

    let handle = server.handle();
    thread::spawn(move || {
        // The end of the input stops it too.
        let _ = io::stdin().read_line(&mut String::new());
        handle.drain(Duration::from_secs(5));
    });
    let stopped = server.run()?;
    println!("stopped with {} undecided transactions", stopped.undecided);
    Ok(())
}
