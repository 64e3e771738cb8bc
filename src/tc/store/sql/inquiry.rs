//! Asking a coordinator for its version: a TM's registration in Seata's own frames, over a connection of its own.
//!
//! Each question has a thread, which ends with it, and few are under way at once, so that addresses nobody answers at
//! hold up nothing but each other. A refused registration carries the version too.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::keeper::now;
use super::neighbours::{Reply, place_of};
use crate::proto::Text;
use crate::proto::codec::{Rpc, decode_message, encode_rpc};
use crate::proto::frame::{FrameLength, decode_frame, peek_frame};
use crate::proto::message::{Message, RegisterTm};
use crate::proto::version::ExceptionTable;

/// The questions that are under way.
#[derive(Debug)]
pub(super) struct Inquiries {
    under_way: usize,
    replies: Receiver<(String, Reply)>,
    /// For the threads.
    reply: Sender<(String, Reply)>,
}

impl Inquiries {
    pub(super) fn new() -> Self {
        let (reply, replies) = unbounded();
        Self {
            under_way: 0,
            replies,
            reply,
        }
    }

    /// How many more may be asked now.
    pub(super) fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.under_way)
    }

    /// Asks; never blocks.
    pub(super) fn ask(&mut self, address: String) {
        self.under_way += 1;
        let (to, reply) = (address.clone(), self.reply.clone());
        let asked = thread::Builder::new()
            .name("seamio-inquiry".into())
            .spawn(move || {
                let answer = ask(&to).unwrap_or_else(|reason| {
                    log::debug!("event=no_coordinator address={to} reason={reason}");
                    Reply::Silence
                });
                // Nobody listens any more when the store is being dropped.
                let _ = reply.send((to, answer));
            });
        if let Err(error) = asked {
            log::warn!("event=not_asked address={address} reason={error}");
            let _ = self.reply.send((address, Reply::Silence));
        }
    }

    /// The next answer that has come.
    pub(super) fn poll(&mut self) -> Option<(String, Reply)> {
        let reply = self.replies.try_recv().ok()?;
        self.under_way -= 1;
        Some(reply)
    }
}

/// Blocks, for [`ANSWER_WITHIN`] at most behind the look-up of the host's name.
fn ask(address: &str) -> Result<Reply, String> {
    let (host, port) = place_of(address).ok_or("nobody can listen there")?;
    let places = (host, port).to_socket_addrs().map_err(|e| e.to_string())?;
    let end = now() + ANSWER_WITHIN;
    let left = || Some(end.saturating_duration_since(now())).filter(|left| !left.is_zero());
    let mut connection = Err("the name has no address".to_owned());
    for place in places.take(PLACES_MAX) {
        let within = left().ok_or("no answer in time")?.min(CONNECT_WITHIN);
        connection = TcpStream::connect_timeout(&place, within).map_err(|e| e.to_string());
        if connection.is_ok() {
            break;
        }
    }
    let mut connection = connection?;
    let question = question().map_err(|e| e.to_string())?;
    let mut bytes = BytesMut::new();
    let mut chunk = [0; 4096];
    let io = |error: std::io::Error| error.to_string();
    connection.set_write_timeout(left()).map_err(io)?;
    connection.write_all(&question).map_err(io)?;
    loop {
        if let Some(reply) = read(&mut bytes)? {
            return Ok(reply);
        }
        let wait = left().ok_or("no answer in time")?;
        connection.set_read_timeout(Some(wait)).map_err(io)?;
        match connection.read(&mut chunk).map_err(io)? {
            0 => return Err("it closed the connection".into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn question() -> Result<Bytes, crate::proto::EncodeError> {
    let mut bytes = BytesMut::new();
    let register = Message::RegisterTm(RegisterTm {
        version: Text::from_static("2.3.0"),
        application_id: Text::from_static("seamio"),
        transaction_service_group: Text::from_static("seamio"),
        extra_data: Text::new(),
    });
    encode_rpc(
        &Rpc::request(1, register),
        ExceptionTable::default(),
        &mut bytes,
    )?;
    Ok(bytes.freeze())
}

/// The answer, once it is there; what is no answer is passed over.
fn read(bytes: &mut BytesMut) -> Result<Option<Reply>, String> {
    loop {
        match peek_frame(bytes, FRAME_BYTES_MAX).map_err(|e| e.to_string())? {
            FrameLength::Need(_) => return Ok(None),
            FrameLength::Complete(length) => {
                let frame = bytes.split_to(length).freeze();
                let frame = decode_frame(frame).map_err(|e| e.to_string())?;
                let message = decode_message(&frame, ExceptionTable::default());
                if let Message::RegisterTmResponse(answer) = message.map_err(|e| e.to_string())? {
                    return Ok(Some(Reply::Version(answer.version.as_str().to_owned())));
                }
            }
        }
    }
}

/// Questions under way at the same time.
const AT_ONCE: usize = 4;
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// For everything: coordinators that use the same database are near.
const ANSWER_WITHIN: Duration = Duration::from_millis(2500);
/// Of the addresses of a name.
const PLACES_MAX: usize = 2;
/// A name and a version take less.
const FRAME_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::proto::message::RegisterResponse;

    fn response(identified: bool, version: &str) -> Vec<u8> {
        let answer = Message::RegisterTmResponse(RegisterResponse {
            identified,
            version: version.into(),
        });
        let mut bytes = BytesMut::new();
        let rpc = Rpc::request(1, Message::HeartbeatPing).reply(answer);
        encode_rpc(&rpc, ExceptionTable::default(), &mut bytes).expect("a frame");
        bytes.to_vec()
    }

    /// What is understood of somebody who answers the first bytes with these, and then says no more.
    fn of(answer: Vec<u8>) -> Result<Reply, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let peer = thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut request = [0; 4096];
            let n = client.read(&mut request).expect("a request");
            // In two pieces.
            let (first, rest) = answer.split_at(answer.len() / 2);
            client.write_all(first).expect("written");
            client.flush().expect("written");
            client.write_all(rest).expect("written");
            request[..n].to_vec()
        });
        let reply = ask(&address);
        let request = peer.join().expect("no panic");
        let frame = decode_frame(Bytes::from(request)).expect("a frame");
        let message = decode_message(&frame, ExceptionTable::default());
        assert!(matches!(message, Ok(Message::RegisterTm(_))), "{message:?}");
        reply
    }

    #[test]
    fn a_coordinator_tells_its_version_also_when_it_refuses() {
        let version = |text: &str| Ok(Reply::Version(text.to_owned()));
        assert_eq!(of(response(true, "2.0.0")), version("2.0.0"));
        assert_eq!(of(response(false, "1.4.2")), version("1.4.2"));
        let mut ping = BytesMut::new();
        encode_rpc(&Rpc::ping(7), ExceptionTable::default(), &mut ping).expect("a frame");
        let mut both = ping.to_vec();
        both.extend(response(true, "1.5.0-SNAPSHOT"));
        assert_eq!(of(both), version("1.5.0-SNAPSHOT"));
    }

    #[test]
    fn whatever_is_no_coordinator_is_silent() {
        for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "", "\u{1}"] {
            let reply = of(answer.as_bytes().to_vec());
            assert!(reply.is_err(), "{answer:?}: {reply:?}");
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("an address").to_string();
        drop(port);
        assert!(ask(&address).is_err());
        assert!(ask("10.0.0.1:0").is_err());
    }

    #[test]
    fn answers_come_back_and_make_room() {
        let mut inquiries = Inquiries::new();
        let room = inquiries.room();
        inquiries.ask("10.0.0.1:0".to_owned());
        assert_eq!(inquiries.room(), room - 1);
        let reply = inquiries.replies.recv().expect("an answer");
        assert_eq!(reply, ("10.0.0.1:0".to_owned(), Reply::Silence));
        inquiries.reply.send(reply).expect("open");
        assert!(inquiries.poll().is_some());
        assert_eq!((inquiries.room(), inquiries.poll()), (room, None));
    }
}
