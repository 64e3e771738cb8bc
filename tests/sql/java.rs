//! A Java coordinator on the same tables that is too old to work beside: it is asked for its version, and refused.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::{Message, RegisterResponse};
use seamio::proto::version::ExceptionTable;
use seamio::tc::store::sql::{JavaCoordinators, SqlConfig, SqlStore, schema};
use seamio::tc::store::{Decision, Outcome, Store, StoreEvent};

use crate::agreement::{event, run};
use crate::life::{begin, decide, register, xid};
use crate::place::Place;

on_every_database!(
    one_that_is_too_old_stops_a_start,
    whatever_is_not_too_old_stops_no_start,
    one_that_comes_later_keeps_transactions_from_beginning,
    one_without_transactions_is_found_by_the_loop_it_runs,
);

/// Listens as a Java coordinator does, and answers each first request with some bytes, or never.
struct Java {
    address: String,
    over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Java {
    fn of_version(version: &'static str) -> Self {
        Self::that_answers(move |request| {
            let answer = Message::RegisterTmResponse(RegisterResponse {
                identified: false,
                version: version.into(),
            });
            let mut bytes = BytesMut::new();
            let table = ExceptionTable::default();
            encode_rpc(&request.reply(answer), table, &mut bytes).expect("a frame");
            bytes.to_vec()
        })
    }

    fn that_answers(answer: impl Fn(&Rpc) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let over = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let (ends, clients) = (over.clone(), open.clone());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(mut client) = client else { continue };
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(request) = request(&mut client) {
                    // It may have given up.
                    let _ = client.write_all(&answer(&request));
                }
                let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
                clients.push(client);
            }
        });
        Self {
            address,
            over,
            open,
            thread: Some(thread),
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // The listening thread looks up.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for client in open.drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn request(client: &mut TcpStream) -> Option<Rpc> {
    let mut bytes = BytesMut::new();
    let mut chunk = [0; 4096];
    loop {
        if let Ok(FrameLength::Complete(_)) = peek_frame(&bytes, FRAME_BYTES_MAX) {
            let frame = decode_frame(bytes.freeze()).expect("a frame");
            return Some(decode_rpc(frame, ExceptionTable::default()).expect("a message"));
        }
        match client.read(&mut chunk) {
            Ok(n @ 1..) => bytes.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

fn try_to_open(place: &Place, java: JavaCoordinators) -> Result<SqlStore, String> {
    let mut config = SqlConfig::new(place.database(), "10.0.0.1:8091");
    config.connections = 1;
    config.java = java;
    SqlStore::open(config, Arc::new(|| {}))
}

/// A transaction that the coordinator at this address has begun, and perhaps decided.
fn leave(place: &Place, address: &str, id: i64, status: u8) {
    leave_under(place, &format!("{address}:{id}"), id, status);
}

fn leave_under(place: &Place, xid: &str, id: i64, status: u8) {
    let stamp = place.choose("NOW()", "CURRENT_TIMESTAMP");
    place.run(&format!(
        "INSERT INTO global_table (xid, transaction_id, status, application_id, transaction_service_group, \
         transaction_name, timeout, begin_time, gmt_create, gmt_modified) VALUES ('{xid}', {id}, {status}, \
         'app', 'group', 'java', 60000, 9000000000000, {stamp}, {stamp})"
    ));
}

/// The next word about begins; nothing is taken from Java before.
fn barred(store: &mut SqlStore) -> Option<String> {
    event(store, |event| match event {
        StoreEvent::Barred(reason) => Some(reason),
        StoreEvent::Adopted(global) => panic!("{global:?}"),
        _ => None,
    })
}

fn one_that_is_too_old_stops_a_start(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let java = Java::of_version("1.4.2");
    leave(place, &java.address, 1, 1);
    for mode in [JavaCoordinators::Beside, JavaCoordinators::None] {
        let error = try_to_open(place, mode).map(drop).expect_err("it is there");
        for part in [&*java.address, "version 1.4.2", "Stop it", "migrating"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let nodes = place.column("SELECT COUNT(*) FROM seamio_node");
    assert_eq!(nodes, ["0"], "nothing was claimed");
    drop(java);
    try_to_open(place, JavaCoordinators::Beside).expect("it has been stopped");
}

fn whatever_is_not_too_old_stops_no_start(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let all = [
        Java::of_version("2.0.0"),
        Java::of_version("2.1.0-SNAPSHOT"),
        Java::that_answers(|_| Vec::new()),
        Java::that_answers(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ];
    for (id, java) in (1..).zip(&all) {
        leave(place, &java.address, id, 1);
    }
    leave(place, "nobody:0", 9, 1);
    leave_under(place, "x", 123_456, 1);
    leave_under(place, "10.0.0.9:8091", 123_457, 1);
    let mut store = try_to_open(place, JavaCoordinators::Beside).expect("a store");
    let begun = run(&mut store, vec![begin(&xid(100))]);
    assert_eq!(begun, [Outcome::Done]);
    while let Some(event) = store.poll_event() {
        assert!(!matches!(event, StoreEvent::Barred(_)), "{event:?}");
    }
}

fn one_that_comes_later_keeps_transactions_from_beginning(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let mut store = try_to_open(place, JavaCoordinators::None).expect("a store");
    let global = xid(1);
    let begun = run(&mut store, vec![begin(&global)]);
    assert_eq!(begun, [Outcome::Done]);
    let java = Java::of_version("1.5.2");
    leave(place, &java.address, 5, 5);
    let reason = barred(&mut store).expect("a reason");
    for part in [&*java.address, "version 1.5.2"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    leave(place, "10.9.9.9:0", 6, 5);
    // What has begun goes on.
    let outcomes = run(&mut store, vec![register(&global, 11, "t:1")]);
    assert_eq!(outcomes, [Outcome::Done]);
    let outcomes = run(&mut store, vec![decide(&global, Decision::Commit)]);
    assert!(matches!(outcomes[0], Outcome::Decided(_)), "{outcomes:?}");
    drop(java);
    assert_eq!(barred(&mut store), None);
    let taken = event(&mut store, |event| match event {
        StoreEvent::Adopted(global) => Some(global.xid.transaction_id()),
        _ => None,
    });
    assert!([5, 6].contains(&taken), "{taken}");
}

fn one_without_transactions_is_found_by_the_loop_it_runs(place: &Place) {
    schema::apply_to(&place.database()).expect("tables");
    let java = Java::of_version("1.8.0");
    place.run(&format!(
        "UPDATE distributed_lock SET lock_value = '{}', expire = 9000000000000 WHERE lock_key = 'TxTimeoutCheck'",
        java.address
    ));
    let error = try_to_open(place, JavaCoordinators::Beside).map(drop);
    let error = error.expect_err("it is there");
    assert!(error.contains(&java.address), "{error}");
}
