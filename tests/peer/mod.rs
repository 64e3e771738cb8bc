//! A coordinator process and a blocking client that speaks frames, for tests of the real binary.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use seamio::proto::Text;
use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::{
    BranchEnd, BranchEndResponse, BranchRegister, GlobalBegin, GlobalEnd, Message, RegisterRm,
    RegisterTm, TxResult,
};
use seamio::proto::status::{BranchStatus, BranchType, ExceptionCode, GlobalStatus};
use seamio::proto::version::PeerVersion;

pub const RESOURCE: &str = "jdbc:mysql://127.0.0.1:3306/test";
/// How long a test waits for what has to come before it fails: much longer than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);
const VERSION: &str = "1.4.2";

/// A directory that goes with the test.
pub struct TestDir(PathBuf);

impl TestDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("test directory");
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("test file");
        path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running `seamio serve`, killed when dropped.
pub struct Coordinator {
    child: Child,
    pub address: SocketAddr,
    /// Processor time from the start of the process to the line that says it listens, where the system tells.
    pub ready_cost: Option<Duration>,
    log: Arc<Mutex<String>>,
}

impl Coordinator {
    /// `seamio serve` on a free port of 127.0.0.1 with these arguments and variables more.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seamio"));
        command
            .args(["serve", "--host", "127.0.0.1", "--port", "0"])
            .args(arguments);
        Self::spawn(command, variables)
    }

    /// The same through a shell that runs `before` first.
    pub fn start_after(before: &str, arguments: &[&str]) -> Self {
        let script = format!("{before}; exec \"$0\" serve --host 127.0.0.1 --port 0 \"$@\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_seamio")])
            .args(arguments);
        Self::spawn(command, &[])
    }

    fn spawn(mut command: Command, variables: &[(&str, &str)]) -> Self {
        let command = command.envs(variables.iter().copied());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("seamio starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (sink, errors) = (log.clone(), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                sink.lock().expect("log").push_str(&format!("{line}\n"));
            }
        });
        let (lines, output) = mpsc::channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let address = listening(&output, &log);
        Self {
            ready_cost: processor_time(child.id()),
            child,
            address,
            log,
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    /// Waits until this has been logged, which comes by another way than what it prints.
    pub fn wait_for_log(&self, text: &str) {
        let until = now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(now() < until, "no {text:?} in the log:\n{}", self.log());
            pause(Duration::from_millis(10));
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("wait");
    }

    pub fn signal(&self, name: &str) {
        self.signal_times(name, 1);
    }

    /// So many signals, one right behind the other.
    pub fn signal_times(&self, name: &str, times: usize) {
        let process = self.child.id().to_string();
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .args(vec![process; times])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end and gives the exit code.
    pub fn wait(&mut self) -> i32 {
        exit_code(&mut self.child)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.address, self.log());
        }
    }
}

/// What the threads of a process have run so far.
fn processor_time(process: u32) -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanos += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

fn listening(output: &Receiver<String>, log: &Mutex<String>) -> SocketAddr {
    match output.recv_timeout(PATIENCE) {
        Ok(line) => match line.strip_prefix("listening on ") {
            Some(address) => address.parse().expect("an address"),
            None => panic!("unexpected line {line:?}"),
        },
        Err(error) => panic!("no listening line: {error}\n{}", log.lock().expect("log")),
    }
}

/// Runs a command to its end; exit code and standard error.
pub fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seamio"));
    let command = command.args(arguments).envs(variables.iter().copied());
    let output = command.output().expect("seamio runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        code(output.status),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn exit_code(child: &mut Child) -> i32 {
    code(child.wait().expect("wait"))
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// One connection.
pub struct Peer {
    pub stream: TcpStream,
    unread: BytesMut,
    next_id: i32,
    /// What came while an answer was waited for.
    calls: Vec<Rpc>,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("connect")
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: BytesMut::new(),
            next_id: 1,
            calls: Vec::new(),
        })
    }

    pub fn tm(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address);
        peer.register_tm().expect("registered");
        peer
    }

    pub fn rm(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address);
        peer.register_rm().expect("registered");
        peer
    }

    pub fn register_tm(&mut self) -> io::Result<()> {
        let message = Message::RegisterTm(RegisterTm {
            version: text(VERSION),
            application_id: text("app"),
            transaction_service_group: text("group"),
            extra_data: Text::new(),
        });
        match self.try_request(message)? {
            Message::RegisterTmResponse(answer) if answer.identified => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    pub fn register_rm(&mut self) -> io::Result<()> {
        let message = Message::RegisterRm(RegisterRm {
            version: text(VERSION),
            application_id: text("app"),
            transaction_service_group: text("group"),
            extra_data: Text::new(),
            resource_ids: text(RESOURCE),
        });
        match self.try_request(message)? {
            Message::RegisterRmResponse(answer) if answer.identified => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&mut self, rpc: &Rpc) -> io::Result<()> {
        self.stream.write_all(&encoded(rpc))
    }

    /// Sends a request without waiting for its answer; its id.
    pub fn ask(&mut self, message: Message) -> io::Result<i32> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&Rpc::request(id, message))?;
        Ok(id)
    }

    pub fn try_request(&mut self, message: Message) -> io::Result<Message> {
        let id = self.ask(message)?;
        self.answer(id)
    }

    pub fn request(&mut self, message: Message) -> Message {
        self.try_request(message).expect("an answer")
    }

    /// The answer to a request; calls that come before it are kept for [`Peer::call`].
    pub fn answer(&mut self, id: i32) -> io::Result<Message> {
        loop {
            let rpc = self.receive()?;
            match rpc.message {
                Message::BranchCommit(_) | Message::BranchRollback(_) => self.calls.push(rpc),
                message if rpc.id == id => return Ok(message),
                other => panic!("unexpected answer {other:?}"),
            }
        }
    }

    /// The next phase-two call.
    pub fn call(&mut self) -> io::Result<Rpc> {
        if !self.calls.is_empty() {
            return Ok(self.calls.remove(0));
        }
        let rpc = self.receive()?;
        assert!(
            matches!(
                rpc.message,
                Message::BranchCommit(_) | Message::BranchRollback(_)
            ),
            "{rpc:?}"
        );
        Ok(rpc)
    }

    /// Answers a phase-two call with success.
    pub fn obey(&mut self, call: &Rpc) -> io::Result<()> {
        let answer = match &call.message {
            Message::BranchCommit(end) => Message::BranchCommitResponse(done(end, true)),
            Message::BranchRollback(end) => Message::BranchRollbackResponse(done(end, false)),
            other => panic!("{other:?} is no call"),
        };
        self.send(&call.reply(answer))
    }

    pub fn receive(&mut self) -> io::Result<Rpc> {
        let table = PeerVersion::parse(VERSION).exception_table();
        loop {
            let bytes = match peek_frame(&self.unread, FRAME_BYTES_MAX).expect("a frame") {
                FrameLength::Complete(bytes) => bytes,
                FrameLength::Need(_) => {
                    let mut chunk = [0; 16 * 1024];
                    match self.stream.read(&mut chunk)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        n => self.unread.extend_from_slice(&chunk[..n]),
                    }
                    continue;
                }
            };
            let frame = decode_frame(Bytes::copy_from_slice(&self.unread[..bytes]));
            self.unread.advance(bytes);
            return Ok(decode_rpc(frame.expect("a frame"), table).expect("a message"));
        }
    }

    /// Whether the other end closes within the time, reading what still comes.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        let until = now() + time;
        let mut chunk = [0; 4096];
        loop {
            let left = until
                .saturating_duration_since(now())
                .max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("timeout");
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if would_block(&error) => return false,
                Err(_) => return true,
            }
        }
    }

    pub fn try_begin(&mut self, timeout_ms: i32) -> io::Result<Result<Text, ExceptionCode>> {
        let name = text("test");
        match self.try_request(Message::GlobalBegin(GlobalBegin {
            timeout_ms,
            transaction_name: name,
        }))? {
            Message::GlobalBeginResponse(answer) => Ok(match answer.result {
                TxResult::Success => Ok(answer.xid),
                TxResult::Failed { code, .. } => Err(code),
            }),
            other => panic!("{other:?}"),
        }
    }

    pub fn begin(&mut self) -> Text {
        self.try_begin(60_000).expect("an answer").expect("begun")
    }

    pub fn try_branch(
        &mut self,
        xid: &Text,
        branch_type: BranchType,
        lock_key: &str,
    ) -> io::Result<Result<i64, ExceptionCode>> {
        let message = Message::BranchRegister(BranchRegister {
            xid: xid.clone(),
            branch_type,
            resource_id: text(RESOURCE),
            lock_key: text(lock_key),
            application_data: Text::new(),
        });
        match self.try_request(message)? {
            Message::BranchRegisterResponse(answer) => Ok(match answer.result {
                TxResult::Success => Ok(answer.branch_id),
                TxResult::Failed { code, .. } => Err(code),
            }),
            other => panic!("{other:?}"),
        }
    }

    pub fn branch(
        &mut self,
        xid: &Text,
        branch_type: BranchType,
        lock_key: &str,
    ) -> Result<i64, ExceptionCode> {
        self.try_branch(xid, branch_type, lock_key)
            .expect("an answer")
    }

    pub fn commit(&mut self, xid: &Text) -> GlobalStatus {
        ended(self.request(commit(xid)))
    }

    pub fn rollback(&mut self, xid: &Text) -> GlobalStatus {
        ended(self.request(rollback(xid)))
    }

    pub fn status(&mut self, xid: &Text) -> GlobalStatus {
        ended(self.request(Message::GlobalStatus(end(xid))))
    }

    /// A transaction without branches, to show that this connection is served.
    pub fn prove_alive(&mut self) {
        let xid = self.begin();
        assert_eq!(self.commit(&xid), GlobalStatus::Committed);
    }
}

pub fn commit(xid: &Text) -> Message {
    Message::GlobalCommit(end(xid))
}

pub fn rollback(xid: &Text) -> Message {
    Message::GlobalRollback(end(xid))
}

/// The status in the answer to a commit, rollback or status request.
pub fn ended(answer: Message) -> GlobalStatus {
    match answer {
        Message::GlobalCommitResponse(answer)
        | Message::GlobalRollbackResponse(answer)
        | Message::GlobalStatusResponse(answer) => answer.global_status,
        other => panic!("{other:?}"),
    }
}

pub fn encoded(rpc: &Rpc) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_rpc(
        rpc,
        PeerVersion::parse(VERSION).exception_table(),
        &mut bytes,
    )
    .expect("encodable");
    bytes
}

pub fn text(text: &str) -> Text {
    Text::from(text)
}

pub fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[allow(clippy::disallowed_methods)] // tests of real processes run in real time
pub fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn end(xid: &Text) -> GlobalEnd {
    GlobalEnd {
        xid: xid.clone(),
        extra_data: Text::new(),
    }
}

fn done(call: &BranchEnd, commit: bool) -> BranchEndResponse {
    BranchEndResponse {
        result: TxResult::Success,
        xid: call.xid.clone(),
        branch_id: call.branch_id,
        branch_status: if commit {
            BranchStatus::PhaseTwoCommitted
        } else {
            BranchStatus::PhaseTwoRollbacked
        },
    }
}

/// xorshift64*: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
}
