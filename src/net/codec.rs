//! Framing and serialisation: what an application says about its protocol, and the two ends it works on.
//!
//! [`Input`] lets a codec look at received bytes where they lie and take reference-counted pieces of them; [`Output`]
//! appends to what will be sent. Neither copies more than a small frame (network.md B.14, B.15).

use std::sync::Arc;

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::address::Address;
use super::endpoint::Peer;
use super::error::CodecError;

/// Framing and serialisation of one protocol. One immutable value per handler: the reactor decodes, any thread encodes.
///
/// What differs per session, and what decoding remembers between frames, is `State`; it never leaves the reactor. What
/// encoding has to know about one message (a request id, a serializer) is part of `Out`.
///
/// [`LengthDelimited`](super::LengthDelimited) and [`Lines`](super::Lines) are ready. One of one's own, for frames of a type,
/// a length and a body:
///
/// ```
/// use bytes::Bytes;
/// use seamio::net::{Codec, CodecError, Decoded, Input, Output, Peer};
///
/// struct Typed;
///
/// impl Codec for Typed {
///     type In = (u8, Bytes);
///     type Out = (u8, Bytes);
///     type State = ();
///
///     fn open(&self, _: &Peer) {}
///
///     fn decode(&self, _: &mut (), input: &mut Input<'_>) -> Result<Decoded<Self::In>, CodecError> {
///         let (Some(kind), Some(length)) = (input.u8_at(0), input.u16_at(1)) else {
///             return Ok(Decoded::Need(3)); // the head first
///         };
///         if kind > 9 {
///             return Err(CodecError::malformed("a type above 9")); // ends the session
///         }
///         let whole = 3 + usize::from(length);
///         if input.len() < whole {
///             return Ok(Decoded::Need(whole)); // not asked again before as much is there
///         }
///         input.advance(3);
///         Ok(Decoded::Message((kind, input.take(whole - 3))))
///     }
///
///     fn encode(&self, (kind, body): &Self::Out, output: &mut Output<'_>) -> Result<(), CodecError> {
///         let length = u16::try_from(body.len()).map_err(|_| CodecError::malformed("64 KiB or more"))?;
///         output.put_u8(*kind);
///         output.put_u16(length);
///         output.append(body.clone());
///         Ok(())
///     }
/// }
/// ```
pub trait Codec: Send + Sync + 'static {
    /// What arrives.
    type In: Send + 'static;
    /// What is sent.
    type Out: Send + 'static;
    /// What decoding remembers, one per session.
    type State: Send + 'static;

    /// State of a new session.
    fn open(&self, peer: &Peer) -> Self::State;

    /// Takes one message off the front of `input`, or says how many bytes that needs. Called again while bytes remain. After
    /// [`Decoded::Need`] it is called when as many are there, and at least one more than last time. Taking off bytes without giving a message (padding, comments)
    /// is allowed.
    ///
    /// # Errors
    /// Any error ends the session, as does a message that took no bytes off. Where messages have boundaries of their own
    /// (WebSocket, UDP) only the message is lost.
    fn decode(
        &self,
        state: &mut Self::State,
        input: &mut Input<'_>,
    ) -> Result<Decoded<Self::In>, CodecError>;

    /// Appends the bytes of `message` to `output`.
    ///
    /// # Errors
    /// Whatever was appended is taken back and nothing is sent; the session stays.
    fn encode(&self, message: &Self::Out, output: &mut Output<'_>) -> Result<(), CodecError>;
}

/// A codec shared by several reactors.
impl<C: Codec> Codec for Arc<C> {
    type In = C::In;
    type Out = C::Out;
    type State = C::State;

    fn open(&self, peer: &Peer) -> Self::State {
        (**self).open(peer)
    }

    fn decode(
        &self,
        state: &mut Self::State,
        input: &mut Input<'_>,
    ) -> Result<Decoded<Self::In>, CodecError> {
        (**self).decode(state, input)
    }

    fn encode(&self, message: &Self::Out, output: &mut Output<'_>) -> Result<(), CodecError> {
        (**self).encode(message, output)
    }
}

/// What a codec found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<T> {
    /// A message, whose bytes have been taken off the input.
    Message(T),
    /// No whole frame yet: its total length if that is known, else the least number of unread bytes worth another look.
    /// More than the session's `max_frame` ends the session before the frame arrives.
    Need(usize),
}

/// The bytes received and not yet decoded, contiguous.
#[derive(Debug)]
pub struct Input<'a> {
    received: &'a mut BytesMut,
    /// How many of them have been taken off.
    taken: &'a mut usize,
    arena: &'a mut Arena,
    whole: bool,
    sender: Option<SocketAddr>,
}

impl<'a> Input<'a> {
    /// What was received but for the first `taken` bytes, which is counted on.
    #[inline]
    pub(crate) fn new(
        received: &'a mut BytesMut,
        taken: &'a mut usize,
        arena: &'a mut Arena,
    ) -> Self {
        Input {
            received,
            taken,
            arena,
            whole: false,
            sender: None,
        }
    }

    /// The unread bytes are the rest of one message of the transport.
    pub(crate) fn whole(self, sender: Option<SocketAddr>) -> Self {
        Input {
            whole: true,
            sender,
            ..self
        }
    }

    /// Who sent the datagram being decoded: over UDP, where one session hears many. A codec that puts it into the message
    /// lets whoever handles that answer with `send_to`. `None` over streams.
    pub fn sender(&self) -> Option<Address> {
        self.sender.map(Address::Ip)
    }

    /// Whether the unread bytes end where a message of the transport ends, as over WebSocket and UDP. No more will follow:
    /// a frame that is not complete never will be. Otherwise they are a part of a stream.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// When fewer are there, which closes the session.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "fewer bytes are there");
        *self.taken += n;
    }

    /// Takes the first `n` bytes as a value that may leave the thread. Large pieces share the receive buffer; small ones
    /// are copied, since they would pin it.
    ///
    /// # Panics
    /// When fewer are there, which closes the session.
    #[inline]
    pub fn take(&mut self, n: usize) -> Bytes {
        if n > COPY_MAX {
            return self.split(n);
        }
        let piece = self.arena.copy(&self.received[*self.taken..][..n]);
        *self.taken += n;
        piece
    }

    #[inline(never)]
    fn split(&mut self, n: usize) -> Bytes {
        self.received.advance(std::mem::take(self.taken));
        self.received.split_to(n).freeze()
    }

    /// The byte at this offset, if it has arrived.
    #[inline]
    pub fn u8_at(&self, offset: usize) -> Option<u8> {
        self.as_slice().get(offset).copied()
    }

    /// The number at this offset, most significant byte first, if it has arrived.
    #[inline]
    pub fn u16_at(&self, offset: usize) -> Option<u16> {
        self.array_at(offset).map(u16::from_be_bytes)
    }

    /// The number at this offset, most significant byte first, if it has arrived.
    #[inline]
    pub fn u32_at(&self, offset: usize) -> Option<u32> {
        self.array_at(offset).map(u32::from_be_bytes)
    }

    /// The number at this offset, most significant byte first, if it has arrived.
    #[inline]
    pub fn u64_at(&self, offset: usize) -> Option<u64> {
        self.array_at(offset).map(u64::from_be_bytes)
    }

    #[inline]
    fn array_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.as_slice().get(offset..)?.first_chunk().copied()
    }

    /// Everything unread.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.received[*self.taken..]
    }

    /// Number of unread bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.received.len() - *self.taken
    }

    /// Whether nothing is unread.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Appends one message to what will be sent.
///
/// ```
/// use seamio::net::Output;
/// # use bytes::BytesMut;
/// // A length prefix that does not count itself.
/// fn frame(payload: &[u8], output: &mut Output<'_>) {
///     let length = output.reserve_u32();
///     output.put_slice(payload);
///     output.patch_u32(length, output.len() as u32 - 4);
/// }
/// ```
#[derive(Debug)]
pub struct Output<'a> {
    bytes: &'a mut BytesMut,
    links: &'a mut Vec<Link>,
    start: usize,
    first_link: usize,
    linked: usize,
}

/// A large payload to be sent after the first `at` bytes of the buffer beside it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) at: usize,
    pub(crate) bytes: Bytes,
}

/// A place kept free for a number that is not known yet.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Reserved(usize);

impl<'a> Output<'a> {
    /// One message, appended to `bytes`; large payloads go to `links`.
    #[inline]
    pub(crate) fn new(bytes: &'a mut BytesMut, links: &'a mut Vec<Link>) -> Self {
        let (start, first_link) = (bytes.len(), links.len());
        Output {
            bytes,
            links,
            start,
            first_link,
            linked: 0,
        }
    }

    /// Appends bytes.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    #[inline]
    pub fn put_u8(&mut self, n: u8) {
        self.bytes.put_u8(n);
    }

    /// Appends a number, most significant byte first.
    #[inline]
    pub fn put_u16(&mut self, n: u16) {
        self.bytes.put_u16(n);
    }

    /// Appends a number, most significant byte first.
    #[inline]
    pub fn put_u32(&mut self, n: u32) {
        self.bytes.put_u32(n);
    }

    /// Appends a number, most significant byte first.
    #[inline]
    pub fn put_u64(&mut self, n: u64) {
        self.bytes.put_u64(n);
    }

    /// Appends four zero bytes to be set later.
    #[inline]
    pub fn reserve_u32(&mut self) -> Reserved {
        let at = self.bytes.len();
        self.bytes.put_u32(0);
        Reserved(at)
    }

    /// Sets a reserved number, most significant byte first.
    #[inline]
    pub fn patch_u32(&mut self, at: Reserved, n: u32) {
        self.bytes[at.0..at.0 + 4].copy_from_slice(&n.to_be_bytes());
    }

    /// Appends a payload that exists already. Large ones are linked, not copied.
    #[inline]
    pub fn append(&mut self, payload: Bytes) {
        if payload.len() < LINK_MIN {
            self.bytes.extend_from_slice(&payload);
        } else {
            self.linked += payload.len();
            self.links.push(Link {
                at: self.bytes.len(),
                bytes: payload,
            });
        }
    }

    /// The buffer itself, for encoders that append to one. What lies in it already belongs to other messages: append
    /// only, and patch only what was appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.bytes
    }

    /// Bytes of this message so far, linked ones included.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start) + self.linked
    }

    /// Whether this message has no bytes yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes back everything appended.
    pub(crate) fn undo(self) {
        self.bytes.truncate(self.start);
        self.links.truncate(self.first_link);
    }
}

/// Memory for copies of small frames: one allocation serves hundreds of them, none when they are short-lived.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    chunk: BytesMut,
}

impl Arena {
    /// Takes the memory of the first pieces now.
    pub(crate) fn prepare(&mut self) {
        drop(self.copy(&[0]));
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.chunk.capacity() < bytes.len() && !self.chunk.try_reclaim(ARENA_CHUNK) {
            self.chunk = BytesMut::with_capacity(ARENA_CHUNK);
        }
        self.chunk.extend_from_slice(bytes);
        self.chunk.split().freeze()
    }
}

/// Pieces up to this size are copied out of the receive buffer.
const COPY_MAX: usize = 256;

/// Payloads from this size on are linked instead of copied.
pub(crate) const LINK_MIN: usize = 4096;

const ARENA_CHUNK: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::inbox::Inbox;

    fn holding(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.bytes.extend_from_slice(bytes);
        inbox
    }

    #[test]
    fn input_copies_small_pieces_and_shares_large_ones() {
        let mut inbox = holding(&[7; 2000]);
        let mut arena = Arena::default();
        let mut input = inbox.input(&mut arena);
        let before = input.as_slice().as_ptr() as usize;
        let small = input.take(10);
        let large = input.take(1000);
        assert_eq!((small.len(), large.len(), input.len()), (10, 1000, 990));
        assert_ne!(small.as_ptr() as usize, before);
        assert_eq!(large.as_ptr() as usize, before + 10);
    }

    #[test]
    fn input_reads_numbers_that_have_arrived() {
        let mut inbox = holding(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut arena = Arena::default();
        let input = inbox.input(&mut arena);
        assert_eq!((input.u8_at(8), input.u8_at(9)), (Some(8), None));
        assert_eq!((input.u16_at(7), input.u16_at(8)), (Some(0x708), None));
        assert_eq!(
            (input.u32_at(5), input.u32_at(6)),
            (Some(0x0506_0708), None)
        );
        let long = 0x0102_0304_0506_0708;
        assert_eq!((input.u64_at(1), input.u64_at(2)), (Some(long), None));
        assert_eq!(input.u32_at(usize::MAX), None);
    }

    #[test]
    fn arena_reuses_memory_nobody_holds() {
        let mut arena = Arena::default();
        let first = arena.copy(&[1; 200]);
        let start = first.as_ptr();
        drop(first);
        for _ in 0..80 {
            drop(arena.copy(&[2; 200]));
        }
        let held = arena.copy(&[3; 200]);
        assert!((held.as_ptr() as usize).abs_diff(start as usize) < ARENA_CHUNK);
        for n in 0..200u8 {
            drop(arena.copy(&[n; 250]));
        }
        assert_eq!(&held[..], &[3; 200]);
    }

    #[test]
    fn output_links_large_payloads_and_undoes() {
        let (mut bytes, mut links) = (BytesMut::from(&b"kept"[..]), Vec::new());
        let mut output = Output::new(&mut bytes, &mut links);
        let length = output.reserve_u32();
        output.append(Bytes::from_static(b"small"));
        output.append(Bytes::from(vec![0; LINK_MIN]));
        output.put_u16(9);
        assert_eq!(output.len(), 4 + 5 + LINK_MIN + 2);
        output.patch_u32(length, 77);
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].at, 4 + 4 + 5);
        assert_eq!(&bytes[..8], b"kept\0\0\0\x4d");
        let mut output = Output::new(&mut bytes, &mut links);
        output.put_u64(1);
        output.append(Bytes::from(vec![0; LINK_MIN]));
        output.undo();
        assert_eq!((bytes.len(), links.len()), (4 + 4 + 5 + 2, 1));
    }
}
