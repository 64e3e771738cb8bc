//! A coordinator that answers what a test says, over real sockets.
#![allow(unreachable_pub)] // each test file uses its part

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::Message;
use seamio::proto::version::ExceptionTable;

/// What the coordinator does about a request.
pub enum Reaction {
    /// Answers it.
    Answer(Message),
    /// Sends these bytes.
    Bytes(&'static [u8]),
    /// Closes the connection.
    Close,
}

type Rule = dyn Fn(&Message) -> Vec<Reaction> + Send + Sync;

/// A listening coordinator; it ends with the test's process.
pub struct Script {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Message>>>,
}

impl Script {
    pub fn start(rule: impl Fn(&Message) -> Vec<Reaction> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (rule, notes): (Arc<Rule>, _) = (Arc::new(rule), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (rule, notes) = (Arc::clone(&rule), Arc::clone(&notes));
                std::thread::spawn(move || serve(stream, &*rule, &notes));
            }
        });
        Self { address, heard }
    }

    /// How many of the messages that came are such.
    pub fn heard(&self, is_such: impl Fn(&Message) -> bool) -> usize {
        let heard = self.heard.lock().expect("notes");
        heard.iter().filter(|message| is_such(message)).count()
    }
}

/// Reads requests and reacts, until one of the two closes the connection.
fn serve(mut stream: TcpStream, rule: &Rule, notes: &Mutex<Vec<Message>>) {
    let mut buffer = BytesMut::new();
    while let Some(request) = read(&mut stream, &mut buffer) {
        notes.lock().expect("notes").push(request.message.clone());
        for reaction in rule(&request.message) {
            let mut bytes = BytesMut::new();
            match reaction {
                Reaction::Answer(message) => {
                    encode_rpc(&request.reply(message), ExceptionTable::V2_0, &mut bytes)
                        .expect("a sound answer");
                }
                Reaction::Bytes(raw) => bytes.extend_from_slice(raw),
                Reaction::Close => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Rpc> {
    loop {
        if let FrameLength::Complete(bytes) = peek_frame(buffer, FRAME_BYTES_MAX).ok()? {
            let frame = decode_frame(buffer.split_to(bytes).freeze()).ok()?;
            return decode_rpc(frame, ExceptionTable::V2_0).ok();
        }
        let mut some = [0; 4096];
        let count = stream.read(&mut some).ok().filter(|count| *count > 0)?;
        buffer.extend_from_slice(&some[..count]);
    }
}
