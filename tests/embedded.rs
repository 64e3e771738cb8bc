//! The coordinator inside a host program, with a store of the host's own: what is not durable is not told, and a store
//! that fails ends the server without another answer (proof.md 2 and 23).

mod peer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use peer::{PATIENCE, Peer};
use seamio::proto::message::{GlobalBegin, Message};
use seamio::proto::status::GlobalStatus;
use seamio::tc::server::{Error, Server, ServerConfig, Stopped, StoreWaker};
use seamio::tc::store::{
    Completion, Global, MemoryStore, Operation, Seq, Store, StoreLimits, StoreStats, Ticket,
};

/// What the test does to the disk.
#[derive(Default)]
struct Disk {
    /// Changes up to here are durable.
    durable: AtomicU64,
    failed: AtomicBool,
    waker: OnceLock<StoreWaker>,
}

impl Disk {
    fn sync_everything(&self) {
        self.durable.store(u64::MAX, Ordering::Release);
        self.waker.get().expect("open").wake();
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.waker.get().expect("open").wake();
    }
}

/// A memory store whose changes become durable when the test says so.
struct SlowStore {
    memory: MemoryStore,
    changes: u64,
    disk: Arc<Disk>,
}

impl Store for SlowStore {
    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        self.memory.submit(ticket, operation);
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let completion = self.memory.poll_completion()?;
        self.changes += 1;
        Some(Completion {
            after: Seq(self.changes),
            ..completion
        })
    }

    fn flush(&mut self) {
        self.memory.flush();
    }

    fn durable(&self) -> Seq {
        Seq(self.disk.durable.load(Ordering::Acquire))
    }

    fn scan(&self, visit: &mut dyn FnMut(&Global)) {
        self.memory.scan(visit);
    }

    fn highest_id(&self) -> i64 {
        self.memory.highest_id()
    }

    fn failure(&self) -> Option<String> {
        let failed = self.disk.failed.load(Ordering::Acquire);
        failed.then(|| "the test says so".to_owned())
    }

    fn stats(&self) -> StoreStats {
        self.memory.stats()
    }
}

struct Running {
    address: std::net::SocketAddr,
    disk: Arc<Disk>,
    thread: JoinHandle<Result<Stopped, Error>>,
    handle: seamio::tc::server::ServerHandle,
}

fn start(workers: usize) -> Running {
    let disk = Arc::new(Disk::default());
    let config = ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        workers,
        ..ServerConfig::default()
    };
    let server = Server::bind_with(config, |waker| {
        assert!(disk.waker.set(waker).is_ok());
        let memory = MemoryStore::new(StoreLimits::default());
        Ok(Box::new(SlowStore {
            memory,
            changes: 0,
            disk: disk.clone(),
        }))
    });
    let server = server.expect("bound");
    let (address, handle) = (server.address(), server.handle());
    Running {
        address,
        disk,
        handle,
        thread: std::thread::spawn(move || server.run()),
    }
}

fn begin() -> Message {
    Message::GlobalBegin(GlobalBegin {
        timeout_ms: 60_000,
        transaction_name: peer::text("t"),
    })
}

fn is_silent(peer: &mut Peer) -> bool {
    peer.stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("timeout");
    let silent = peer.receive().is_err_and(|error| peer::would_block(&error));
    peer.stream
        .set_read_timeout(Some(PATIENCE))
        .expect("timeout");
    silent
}

#[test]
fn an_answer_waits_until_the_store_is_durable() {
    for workers in [0, 1] {
        let running = start(workers);
        let mut tm = Peer::tm(running.address);
        let id = tm.ask(begin()).expect("sent");
        assert!(is_silent(&mut tm), "told before it is durable");
        running.disk.sync_everything();
        let Message::GlobalBeginResponse(begun) = tm.answer(id).expect("an answer") else {
            panic!("not the answer to a begin");
        };
        assert_eq!(tm.commit(&begun.xid), GlobalStatus::Committed);
        running.handle.drain(Duration::from_secs(5));
        let stopped = running.thread.join().expect("no panic").expect("drained");
        assert_eq!(
            stopped,
            Stopped {
                undecided: 0,
                live: 0
            }
        );
        assert!(tm.is_closed_within(PATIENCE));
    }
}

#[test]
fn a_failed_store_ends_the_server_without_another_answer() {
    for workers in [0, 1] {
        let running = start(workers);
        let mut tm = Peer::tm(running.address);
        let id = tm.ask(begin()).expect("sent");
        assert!(is_silent(&mut tm));
        running.disk.fail();
        let error = tm.answer(id).expect_err("nothing is told any more");
        assert!(!peer::would_block(&error), "the connection is closed");
        match running.thread.join().expect("no panic") {
            Err(Error::Store(reason)) => assert_eq!(reason, "the test says so"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_stop_leaves_undecided_transactions_to_the_store() {
    let running = start(1);
    running.disk.sync_everything();
    let mut tm = Peer::tm(running.address);
    tm.begin();
    running.handle.drain(Duration::from_millis(50));
    let stopped = running.thread.join().expect("no panic").expect("drained");
    assert_eq!(
        stopped,
        Stopped {
            undecided: 1,
            live: 1
        }
    );
}
