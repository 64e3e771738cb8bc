//! Three codecs that most programs begin with: frames with a length in front, lines of text, and messages as they are.
//!
//! All read whatever the peer sends without trusting it: nothing is reserved for an announced length before
//! [`SessionConfig::max_frame`](super::SessionConfig::max_frame) was checked, and no byte is looked at twice. Protocols with
//! a richer head bring a [`Codec`] of their own; these show how one is written (network.md A.3, B.14).

use bytes::Bytes;

use super::codec::{Codec, Decoded, Input, Output};
use super::endpoint::Peer;
use super::error::CodecError;

/// Frames of four bytes of length, most significant byte first, then that many bytes of payload. Messages are the payloads,
/// both ways; an empty one is a message too.
///
/// The head counts towards `max_frame`. Payloads above 256 bytes share the receive buffer, those from 4 KiB on are sent
/// without being copied.
///
/// ```
/// use bytes::Bytes;
/// use seamio::net::{Callbacks, Config, LengthDelimited, ListenOptions, Reactor, Session};
///
/// // Everything that comes is sent back.
/// let echo = Callbacks::new(LengthDelimited).on_message(|cx, session, payload: Bytes| {
///     if cx.send(&payload).is_err() {
///         session.abort();
///     }
/// });
/// let mut server = Reactor::new(Config::default(), echo)?;
/// let id = server.listen("127.0.0.1:0".parse()?, ListenOptions::default())?;
/// println!("listening on {}", server.local_addr(id).unwrap());
/// // server.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LengthDelimited;

impl Codec for LengthDelimited {
    type In = Bytes;
    type Out = Bytes;
    type State = ();

    fn open(&self, _: &Peer) {}

    #[inline]
    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        let Some(payload) = input.u32_at(0) else {
            return Ok(Decoded::Need(HEAD));
        };
        let payload = payload as usize;
        if input.len() < HEAD + payload {
            return Ok(Decoded::Need(HEAD + payload));
        }
        input.advance(HEAD);
        Ok(Decoded::Message(input.take(payload)))
    }

    #[inline]
    fn encode(&self, payload: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        let length = u32::try_from(payload.len())
            .map_err(|_| CodecError::malformed("a payload of 4 GiB or more"))?;
        output.put_u32(length);
        output.append(payload.clone());
        Ok(())
    }
}

/// Lines of UTF-8, each ended by a line feed. Messages are the lines without their end; a carriage return before the line
/// feed belongs to the end.
///
/// A line longer than `max_frame` ends the session before more of it is read, text that is not UTF-8 at once. A message
/// that contains a line feed is refused with [`CodecError::Malformed`], since the peer would take it for two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines;

impl Codec for Lines {
    type In = String;
    type Out = String;
    /// Bytes in front that are known to hold no line feed.
    type State = usize;

    fn open(&self, _: &Peer) -> usize {
        0
    }

    fn decode(
        &self,
        searched: &mut usize,
        input: &mut Input<'_>,
    ) -> Result<Decoded<String>, CodecError> {
        let unread = input.as_slice();
        let from = std::mem::take(searched);
        let fresh = unread.get(from..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|b| *b == b'\n') else {
            // A message with an end of its own does not go on.
            *searched = if input.is_whole() { 0 } else { unread.len() };
            return Ok(Decoded::Need(unread.len() + 1));
        };
        let end = from + end;
        let line = &unread[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map_err(|_| CodecError::malformed("a line that is not UTF-8"))?
            .to_owned();
        input.advance(end + 1);
        Ok(Decoded::Message(line))
    }

    fn encode(&self, line: &String, output: &mut Output<'_>) -> Result<(), CodecError> {
        if line.contains('\n') {
            return Err(CodecError::malformed("a line feed within a line"));
        }
        output.put_slice(line.as_bytes());
        output.put_u8(b'\n');
        Ok(())
    }
}

/// Messages as they are, for transports that keep them apart: one WebSocket message or datagram each, without a frame around
/// it. On a byte stream, which has no messages of its own, decoding is an error.
///
/// Text and binary messages of a WebSocket look alike here; what is sent as is in the options of its end.
///
/// ```
/// use bytes::Bytes;
/// use seamio::net::{Callbacks, Messages};
///
/// let echo = Callbacks::new(Messages).on_message(|cx, _, message: Bytes| {
///     let _ = cx.send(&message);
/// });
/// // reactor.listen("udp://127.0.0.1:9000".parse()?, ListenOptions::default())?;
/// # let _ = echo;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Messages;

impl Codec for Messages {
    type In = Bytes;
    type Out = Bytes;
    type State = ();

    fn open(&self, _: &Peer) {}

    fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Bytes>, CodecError> {
        if !input.is_whole() {
            return Err(CodecError::malformed("a byte stream has no messages"));
        }
        let all = input.len();
        Ok(Decoded::Message(input.take(all)))
    }

    fn encode(&self, message: &Bytes, output: &mut Output<'_>) -> Result<(), CodecError> {
        output.append(message.clone());
        Ok(())
    }
}

/// Bytes of a frame before its payload.
const HEAD: usize = 4;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::net::address::Address;
    use crate::net::codec::Arena;
    use crate::net::endpoint::Origin;
    use crate::net::id::ListenerId;
    use crate::net::inbox::Inbox;

    fn peer() -> Peer {
        let at = Address::from(([127, 0, 0, 1], 1));
        Peer {
            #[cfg(feature = "ws")]
            ws: None,
            #[cfg(feature = "tls")]
            tls: None,
            remote: at.clone(),
            local: at,
            origin: Origin::Accepted(ListenerId(0)),
            credentials: None,
        }
    }

    fn holding(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.bytes.extend_from_slice(bytes);
        inbox
    }

    fn encoded<C: Codec>(codec: &C, messages: &[C::Out]) -> Vec<u8> {
        let (mut bytes, mut links) = (BytesMut::new(), Vec::new());
        let mut all = Vec::new();
        for message in messages {
            let mut output = Output::new(&mut bytes, &mut links);
            codec.encode(message, &mut output).expect("a legal message");
            let mut from = 0;
            for link in links.drain(..) {
                all.extend_from_slice(&bytes[from..link.at]);
                all.extend_from_slice(&link.bytes);
                from = link.at;
            }
            all.extend_from_slice(&bytes[from..]);
            bytes.clear();
        }
        all
    }

    /// Decodes what arrives in pieces of `step` bytes, looking only when as much is there as was asked for.
    fn decoded<C: Codec>(codec: &C, bytes: &[u8], step: usize) -> Result<Vec<C::In>, CodecError> {
        let (mut inbox, mut arena) = (Inbox::default(), Arena::default());
        let mut state = codec.open(&peer());
        let (mut messages, mut need) = (Vec::new(), 1);
        for piece in bytes.chunks(step) {
            inbox.drop_taken();
            inbox.bytes.extend_from_slice(piece);
            while inbox.len() >= need {
                match codec.decode(&mut state, &mut inbox.input(&mut arena))? {
                    Decoded::Message(message) => {
                        messages.push(message);
                        need = 1;
                    }
                    Decoded::Need(n) => {
                        assert!(n > inbox.len(), "asks for what is there");
                        need = n;
                    }
                }
            }
        }
        Ok(messages)
    }

    #[test]
    fn length_delimited_frames_survive_every_split() {
        let messages: Vec<Bytes> = [0, 1, 255, 256, 257, 4096, 5000]
            .iter()
            .map(|n| Bytes::from(vec![*n as u8; *n]))
            .collect();
        let bytes = encoded(&LengthDelimited, &messages);
        assert_eq!(bytes[..9], [0, 0, 0, 0, 0, 0, 0, 1, 1]);
        for step in [1, 3, 4, 5, 1000, bytes.len()] {
            let got = decoded(&LengthDelimited, &bytes, step).expect("legal frames");
            assert_eq!(got, messages, "in steps of {step}");
        }
    }

    #[test]
    fn a_head_says_at_once_how_long_its_frame_is() {
        let (mut inbox, mut arena) = (holding(&[0xff; 4]), Arena::default());
        let got = LengthDelimited.decode(&mut (), &mut inbox.input(&mut arena));
        assert_eq!(got, Ok(Decoded::Need(4 + u32::MAX as usize)));
    }

    #[test]
    fn lines_survive_every_split() {
        let text = "first\r\n\nd\u{fc}nn\nlone \r inside\n";
        let expected = ["first", "", "d\u{fc}nn", "lone \r inside"];
        for step in 1..=text.len() {
            let got = decoded(&Lines, text.as_bytes(), step).expect("legal lines");
            assert_eq!(got, expected, "in steps of {step}");
        }
        let lines = ["a".to_owned(), String::new()];
        assert_eq!(encoded(&Lines, &lines), b"a\n\n");
    }

    #[test]
    fn messages_are_taken_as_they_are_where_there_are_any() {
        let (mut inbox, mut arena) = (holding(b"all of it"), Arena::default());
        let stream = Messages.decode(&mut (), &mut inbox.input(&mut arena));
        assert_eq!(
            stream,
            Err(CodecError::malformed("a byte stream has no messages"))
        );
        let mut whole = inbox.input(&mut arena).whole(None);
        let got = Messages.decode(&mut (), &mut whole);
        let all = Bytes::from_static(b"all of it");
        assert_eq!(got, Ok(Decoded::Message(all.clone())));
        assert!(whole.is_empty());
        assert_eq!(encoded(&Messages, &[all]), b"all of it");
    }

    /// What was remembered of a message that was dropped used to hide the line feed of the next one.
    #[test]
    fn a_dropped_message_is_forgotten() {
        let (mut searched, mut arena) = (0, Arena::default());
        for broken in [&b"no line feed"[..], b"\xff\xff\n"] {
            let mut inbox = holding(broken);
            let mut input = inbox.input(&mut arena).whole(None);
            let got = Lines.decode(&mut searched, &mut input);
            assert!(!matches!(got, Ok(Decoded::Message(_))), "{got:?}");
            let mut inbox = holding(b"next\n");
            let mut input = inbox.input(&mut arena).whole(None);
            let got = Lines.decode(&mut searched, &mut input);
            assert_eq!(got, Ok(Decoded::Message("next".to_owned())));
        }
    }

    #[test]
    fn lines_refuse_what_is_no_line() {
        let broken = decoded(&Lines, b"\xff\n", 2);
        assert_eq!(
            broken,
            Err(CodecError::malformed("a line that is not UTF-8"))
        );
        let (mut bytes, mut links) = (BytesMut::new(), Vec::new());
        let two = Lines.encode(&"a\nb".to_owned(), &mut Output::new(&mut bytes, &mut links));
        assert_eq!(two, Err(CodecError::malformed("a line feed within a line")));
    }
}
