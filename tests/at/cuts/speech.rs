//! What a client says to a coordinator, to MariaDB and to PostgreSQL, request by request.

use std::collections::BTreeMap;

use bytes::Bytes;
use seamio::proto::codec::decode_rpc;
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::message::Message;
use seamio::proto::version::PeerVersion;

/// Whose language is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Seata,
    MariaDb,
    Postgres,
}

/// One request, or an answer to one of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The statement, or the kind of message.
    pub(super) words: String,
    /// Whether something comes back.
    pub(super) is_answered: bool,
}

impl Step {
    /// The words without the numbers, which differ from play to play.
    pub(super) fn shape(&self) -> String {
        self.words.replace(|c: char| c.is_ascii_digit(), "")
    }

    /// Whether it has no effect: what is only prepared, and what is read of the catalog.
    pub(super) fn is_preparation(&self) -> bool {
        let reads = ["pg_catalog.", "information_schema."];
        self.words.starts_with(PREPARE) || reads.iter().any(|from| self.words.contains(from))
    }
}

/// Bytes that go together.
pub(super) struct Unit {
    pub(super) bytes: Vec<u8>,
    /// None for what only opens, keeps or ends a connection.
    pub(super) step: Option<Step>,
}

/// Takes the bytes of one connection apart.
pub(super) struct Listener {
    speech: Speech,
    unread: Vec<u8>,
    greeted: bool,
    /// Statements by the name that the client executes them with.
    prepared: BTreeMap<Vec<u8>, String>,
    /// A statement of MariaDB whose number comes with the answer.
    unnumbered: Option<String>,
}

impl Listener {
    pub(super) fn new(speech: Speech) -> Self {
        Self {
            speech,
            unread: Vec::new(),
            greeted: false,
            prepared: BTreeMap::new(),
            unnumbered: None,
        }
    }

    /// The client said this.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The other end answered.
    pub(super) fn hear_answer(&mut self, bytes: &[u8]) {
        // The answer to a preparation: a head of four bytes, a zero, the number.
        if let (Some(words), [_, _, _, _, 0, number @ ..]) = (self.unnumbered.take(), bytes)
            && let Some(number) = number.first_chunk::<4>()
        {
            self.prepared.insert(number.to_vec(), words);
        }
    }

    /// The next whole unit.
    pub(super) fn next(&mut self) -> Option<Unit> {
        let length = match self.speech {
            Speech::Seata => frame_length(&self.unread),
            Speech::MariaDb => packet_length(&self.unread),
            Speech::Postgres => self.request_length(),
        }?;
        let bytes: Vec<u8> = self.unread.drain(..length).collect();
        let step = match self.speech {
            Speech::Seata => frame_step(&bytes),
            Speech::MariaDb => self.packet_step(&bytes),
            Speech::Postgres => self.request_step(&bytes),
        };
        Some(Unit { bytes, step })
    }

    /// PostgreSQL: messages up to the one that asks for an answer.
    fn request_length(&mut self) -> Option<usize> {
        if !self.greeted {
            let length = be_u32(self.unread.first_chunk()?);
            return (self.unread.len() >= length).then_some(length);
        }
        let mut at = 0;
        loop {
            let kind = *self.unread.get(at)?;
            let length = be_u32(self.unread.get(at + 1..)?.first_chunk()?);
            at += 1 + length;
            if at > self.unread.len() {
                return None;
            }
            if matches!(kind, b'S' | b'Q' | b'X' | b'p' | b'H') {
                return Some(at);
            }
        }
    }

    fn request_step(&mut self, bytes: &[u8]) -> Option<Step> {
        if !self.greeted {
            self.greeted = true;
            return None;
        }
        let (mut rest, mut words) = (bytes, None);
        while let [kind, tail @ ..] = rest {
            let length = be_u32(tail.first_chunk()?);
            let (body, next) = (tail.get(4..length)?, tail.get(length..)?);
            let mut texts = body.split(|byte| *byte == 0);
            let (first, second) = (texts.next()?, texts.next().unwrap_or_default());
            match kind {
                b'Q' => words = Some(text(first)),
                b'P' => {
                    self.prepared.insert(first.to_vec(), text(second));
                    words = Some(format!("{PREPARE}{}", text(second)));
                }
                b'B' => words = self.prepared.get(second).cloned(),
                b'X' | b'p' => return None,
                _ => {}
            }
            rest = next;
        }
        statement(words?)
    }

    fn packet_step(&mut self, bytes: &[u8]) -> Option<Step> {
        let (head, body) = bytes.split_at(4);
        // What belongs to the greeting goes on counting.
        if head[3] != 0 {
            return None;
        }
        let (command, rest) = body.split_first()?;
        let words = match command {
            3 => text(rest),
            0x16 => {
                self.unnumbered = Some(text(rest));
                format!("{PREPARE}{}", text(rest))
            }
            0x17 => {
                let words = self.prepared.get(rest.first_chunk::<4>()?.as_slice());
                words.cloned().unwrap_or_else(|| "?".to_owned())
            }
            // Close a statement, end, ping.
            _ => return None,
        };
        statement(words)
    }
}

/// A statement, unless it is how a connection begins.
fn statement(words: String) -> Option<Step> {
    if words.is_empty() || words.starts_with("SET ") {
        return None;
    }
    Some(Step {
        words,
        is_answered: true,
    })
}

fn packet_length(unread: &[u8]) -> Option<usize> {
    let [a, b, c, _] = *unread.first_chunk::<4>()?;
    let length = 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
    (unread.len() >= length).then_some(length)
}

fn frame_length(unread: &[u8]) -> Option<usize> {
    match peek_frame(unread, FRAME_BYTES_MAX).expect("a frame") {
        FrameLength::Complete(length) => Some(length),
        FrameLength::Need(_) => None,
    }
}

fn frame_step(bytes: &[u8]) -> Option<Step> {
    let frame = decode_frame(Bytes::copy_from_slice(bytes)).expect("a frame");
    let table = PeerVersion::parse("1.4.2").exception_table();
    let message = decode_rpc(frame, table).expect("a message").message;
    let (words, is_answered) = match &message {
        Message::RegisterTm(_) | Message::RegisterRm(_) => return None,
        Message::HeartbeatPing | Message::HeartbeatPong => return None,
        Message::MergedWarp(merged) => {
            let names: Vec<String> = merged.messages.iter().map(name).collect();
            (names.join(" "), true)
        }
        Message::BranchCommitResponse(_) | Message::BranchRollbackResponse(_) => {
            (name(&message), false)
        }
        _ => (name(&message), true),
    };
    Some(Step { words, is_answered })
}

fn name(message: &Message) -> String {
    let text = format!("{message:?}");
    let name = text.split(['(', ' ']).next().unwrap_or_default();
    name.to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn be_u32(bytes: &[u8; 4]) -> usize {
    u32::from_be_bytes(*bytes) as usize
}

/// Before the words of a statement that is only prepared.
const PREPARE: &str = "prepare ";
