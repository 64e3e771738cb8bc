//! What a message costs in the runtime, by step, and what would make it cost less.
//!
//! `benches/echo/run` measures CPU time against a bare epoll loop, with no runtime around it. This page says where the
//! difference goes. Its numbers are instructions outside the kernel per echoed message, counted with
//! `benches/echo/count`, which a busy machine does not blur; release profile, frames of 64 bytes, handled inline.
//!
//! | connections × depth | bare epoll | ours |
//! |---|---|---|
//! | 64 × 1 | 230 | 1,650 |
//! | 64 × 16 | 25 | 330 |
//! | 64 × 128 | 13 | 256 |
//!
//! So a message costs about 250 instructions, and a visit of a session, which is one read and one write for all that
//! came, about 1,400 more. The bare loop needs 11 and 220: it looks for the ends of frames in its buffer and sends back
//! the same bytes, all frames of a read as one piece.
//!
//! # A visit
//!
//! One read and one write of a socket take several microseconds in the kernel; a visit's instructions take some tenths of
//! one. Three tenths of them lend buffers to the session and take them back, so that idle sessions hold none. The others
//! find the session, put it on the list of ready ones, watch for panics, count, and ask the questions that only layers,
//! datagrams, watermarks and ends of life answer differently.
//!
//! # A message
//!
//! | step | instructions |
//! |---|---|
//! | may the session be read, is there enough, is the budget left | 26 |
//! | the codec finds the frame | 40 |
//! | its size is checked, the handler asked for the route and called | 24 |
//! | the value moves from the codec to the handler, twice by 128 bytes | 41 |
//! | [`Cx::send`](crate::net::Cx::send): the codec appends it to the outbox, which checks its limits and counts | 84 |
//! | two calls of `memcpy`: from the receive buffer, to the outbox | 38 |
//!
//! At depth 1 and 16 the kernel's part outweighs this by far. At depth 128 the kernel moves 8 KiB with each call and needs
//! so little per message that the same instructions are a large part of it. A bare loop, which touches four bytes of each
//! frame, cannot be reached there by one that makes a value of each, asks for its route, hands it to a handler and
//! encodes the answer.
//!
//! # What a codec can do
//!
//! - Hand out values. A frame that [`Input::take`](crate::net::Input::take) makes [`Bytes`](bytes::Bytes) of costs about
//!   100 instructions more, two of them atomic, since its memory is shared and counted. A codec that reads numbers and short
//!   strings from [`Input::as_slice`](crate::net::Input::as_slice) and then calls
//!   [`Input::advance`](crate::net::Input::advance) pays for neither. The echo's codec copies frames up to 112 bytes.
//! - Mark `decode` and `encode` `#[inline]`, as [`Handler::on_message`](crate::net::Handler::on_message): they are called in
//!   one place each.
//! - Link what is large. Payloads of 4 KiB and more that were taken as `Bytes` leave from where they were received.
//!
//! # What was done and what is left
//!
//! - Received bytes are dropped once per read and not once per frame, addresses and ends of messages are asked for only
//!   where there are any, and the time is looked at once per turn. With the codec above that halved a message.
//! - One check for all reasons to stop reading, and no note of where an encoder began for the case that it panics, would
//!   save some 20 instructions. They are apart because they change apart.
//! - A handler that sees the received bytes before any message is made of them, and answers many frames at once, would take
//!   most of the rest away. That is another interface, for forwarding rather than for handling, and left out.
//! - Frames of 16 KiB cost about 1,050 instructions more than in the bare loop. Each is a slice of its own in the write,
//!   where the bare loop sends four as one piece; the copies of unfinished frames between two reads are the same in both.
//!   `ours --bulk` of the benchmark shows what larger budgets give.
