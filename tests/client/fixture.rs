//! A coordinator on a free port, a client of it, and a resource that writes down what it is asked.
#![allow(unreachable_pub)] // each test file uses its part

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use seamio::client::resource::{BoxFuture, PhaseTwo, Resource};
use seamio::client::{Background, ClientOptions, File, Seata, SeataBuilder, Start, wait};
use seamio::proto::status::{BranchStatus, BranchType};
use seamio::tc::server::{Server, ServerConfig, ServerHandle, Stopped};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator with a memory store, stopped when dropped.
pub struct Coordinator {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<Stopped>>,
}

impl Coordinator {
    pub fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    pub fn start_at(listen: SocketAddr) -> Self {
        Self::with(ServerConfig {
            listen,
            ..ServerConfig::default()
        })
    }

    pub fn with(config: ServerConfig) -> Self {
        let server = Server::bind(config).expect("a free port");
        let (address, handle) = (server.address(), server.handle());
        let thread = std::thread::spawn(move || server.run().expect("an orderly end"));
        Self {
            address,
            handle,
            thread: Some(thread),
        }
    }
}

impl Coordinator {
    /// Stops it and says what it leaves undone.
    pub fn stop(mut self) -> Stopped {
        self.handle.drain(PATIENCE);
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("no panic")
    }
}

/// An address that nobody gets by chance while this lives: a coordinator that asks for it by number does, also again.
pub struct HeldPort {
    _socket: socket2::Socket,
    pub address: SocketAddr,
}

impl HeldPort {
    pub fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        // Bound and not listening, it stands in nobody's way who says the same.
        socket.set_reuse_address(true).expect("an option");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).expect("a port");
        let address = socket.local_addr().expect("bound").as_socket();
        Self {
            _socket: socket,
            address: address.expect("an internet address"),
        }
    }
}

/// A directory that goes with the test.
pub struct TestDir(PathBuf);

impl TestDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("client-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.handle.drain(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Describes a client of these coordinators.
pub fn builder(addresses: &[SocketAddr]) -> SeataBuilder {
    Seata::builder()
        .application("test")
        .registry(File::new(addresses.iter().map(SocketAddr::to_string)))
        .options(options())
}

/// Another patience than the default's where a busy machine could wear it out.
pub fn options() -> ClientOptions {
    ClientOptions {
        seed: 1,
        connection_patience: PATIENCE,
        start: Start::WithinOrFail(PATIENCE),
        ..ClientOptions::default()
    }
}

/// Builds the client and runs its second phases on a thread.
pub fn connect(builder: SeataBuilder) -> Seata {
    let (seata, background) = wait(builder.build()).expect("a coordinator is there");
    run(background);
    seata
}

/// Runs second phases on a thread of their own.
pub fn run(background: Background) {
    std::thread::spawn(move || wait(background));
}

/// What a [`Ledger`] was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Commit(PhaseTwo),
    Rollback(PhaseTwo),
}

/// A resource that does as it is told and writes down what it was asked.
pub struct Ledger {
    id: String,
    branch_type: BranchType,
    entries: Mutex<Vec<Asked>>,
    changed: Condvar,
    /// What it answers next; empty: success.
    pub answers: Mutex<Vec<Answer>>,
}

/// How a [`Ledger`] answers once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(BranchStatus),
    Panic,
}

impl Ledger {
    pub fn new(id: &str, branch_type: BranchType) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            branch_type,
            entries: Mutex::new(Vec::new()),
            changed: Condvar::new(),
            answers: Mutex::new(Vec::new()),
        })
    }

    /// Waits until it was asked so often.
    pub fn wait_for(&self, count: usize) -> Vec<Asked> {
        let entries = self.entries.lock().expect("ledger");
        let (entries, waited) = self
            .changed
            .wait_timeout_while(entries, PATIENCE, |entries| entries.len() < count)
            .expect("ledger");
        assert!(!waited.timed_out(), "only {entries:?}");
        entries.clone()
    }

    fn note(&self, asked: Asked) -> Option<Answer> {
        self.entries.lock().expect("ledger").push(asked);
        self.changed.notify_all();
        self.answers.lock().expect("ledger").pop()
    }
}

impl Resource for Ledger {
    fn id(&self) -> &str {
        &self.id
    }

    fn branch_type(&self) -> BranchType {
        self.branch_type
    }

    fn commit(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move {
            match self.note(Asked::Commit(branch)) {
                None => BranchStatus::PhaseTwoCommitted,
                Some(Answer::Status(status)) => status,
                Some(Answer::Panic) => panic!("as the test says"),
            }
        })
    }

    fn rollback(self: Arc<Self>, branch: PhaseTwo) -> BoxFuture<BranchStatus> {
        Box::pin(async move {
            match self.note(Asked::Rollback(branch)) {
                None => BranchStatus::PhaseTwoRollbacked,
                Some(Answer::Status(status)) => status,
                Some(Answer::Panic) => panic!("as the test says"),
            }
        })
    }
}
