//! Heads of frames and the control frames that carry meaning of their own (RFC 6455, 5.2 and 5.5). Their bits are read
//! and written by tungstenite; what is legal is judged here.

use std::io::Cursor;

use bytes::{BufMut, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::mask;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The last frame of its message.
    pub(super) last: bool,
    /// The message it begins is compressed.
    pub(super) compressed: bool,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of payload that follow.
    pub(super) length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Kind::Close | Kind::Ping | Kind::Pong)
    }

    fn opcode(self) -> OpCode {
        match self {
            Kind::Continuation => OpCode::Data(Data::Continue),
            Kind::Text => OpCode::Data(Data::Text),
            Kind::Binary => OpCode::Data(Data::Binary),
            Kind::Close => OpCode::Control(Control::Close),
            Kind::Ping => OpCode::Control(Control::Ping),
            Kind::Pong => OpCode::Control(Control::Pong),
        }
    }
}

/// What a peer did wrong: the code to close with, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) what: &'static str,
}

impl Violation {
    pub(super) const fn protocol(what: &'static str) -> Self {
        Violation {
            code: PROTOCOL_ERROR,
            what,
        }
    }

    pub(super) const fn not_text() -> Self {
        Violation {
            code: INVALID_PAYLOAD,
            what: "text that is not UTF-8",
        }
    }
}

/// The head at the front of `bytes` and how many of them it takes; `None` if some of it is still to come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Violation> {
    let mut cursor = Cursor::new(bytes);
    let header = match FrameHeader::parse(&mut cursor) {
        Ok(header) => header,
        Err(_) => return Err(Violation::protocol("reserved opcode")),
    };
    let Some((header, length)) = header else {
        return Ok(None);
    };
    let size = cursor.position() as usize;
    let kind = match header.opcode {
        OpCode::Data(Data::Continue) => Kind::Continuation,
        OpCode::Data(Data::Text) => Kind::Text,
        OpCode::Data(Data::Binary) => Kind::Binary,
        OpCode::Control(Control::Close) => Kind::Close,
        OpCode::Control(Control::Ping) => Kind::Ping,
        OpCode::Control(Control::Pong) => Kind::Pong,
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            return Err(Violation::protocol("reserved opcode"));
        }
    };
    if header.rsv2 || header.rsv3 {
        return Err(Violation::protocol("reserved bit set"));
    }
    if length > i64::MAX as u64 {
        return Err(Violation::protocol("length with its highest bit set"));
    }
    if header.len(length) != size {
        return Err(Violation::protocol("length not in its shortest form"));
    }
    if kind.is_control() && length > CONTROL_MAX as u64 {
        return Err(Violation::protocol("control frame over 125 bytes"));
    }
    if kind.is_control() && !header.is_final {
        return Err(Violation::protocol("fragmented control frame"));
    }
    let head = Head {
        kind,
        last: header.is_final,
        compressed: header.rsv1,
        mask: header.mask,
        length,
    };
    Ok(Some((head, size)))
}

/// Appends a frame that is the last of its message.
pub(super) fn put(
    out: &mut BytesMut,
    kind: Kind,
    payload: &[u8],
    mask: Option<[u8; 4]>,
    packing: Packing,
) {
    let header = FrameHeader {
        is_final: true,
        rsv1: packing == Packing::Deflated,
        rsv2: false,
        rsv3: false,
        opcode: kind.opcode(),
        mask,
    };
    out.reserve(header.len(payload.len() as u64) + payload.len());
    let written = header.format(payload.len() as u64, &mut out.writer());
    debug_assert!(written.is_ok(), "a buffer takes everything");
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(&mut out[start..], mask, 0);
    }
}

/// How a message's payload is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    #[cfg_attr(not(feature = "compress"), allow(dead_code))]
    Deflated,
}

/// Appends a close frame. `reason` is cut to what fits, at a character.
pub(super) fn put_close(
    out: &mut BytesMut,
    code: Option<u16>,
    reason: &str,
    mask: Option<[u8; 4]>,
) {
    let mut payload = [0; CONTROL_MAX];
    let mut len = 0;
    if let Some(code) = code {
        payload[..2].copy_from_slice(&code.to_be_bytes());
        let mut fits = reason.len().min(CONTROL_MAX - 2);
        while !reason.is_char_boundary(fits) {
            fits -= 1;
        }
        payload[2..2 + fits].copy_from_slice(&reason.as_bytes()[..fits]);
        len = 2 + fits;
    }
    put(out, Kind::Close, &payload[..len], mask, Packing::Plain);
}

/// The code and reason a close frame's payload gives.
pub(super) fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload.is_empty() {
            true => Ok((None, "")),
            false => Err(Violation::protocol("close code of one byte")),
        };
    };
    let code = u16::from_be_bytes(*code);
    // 1014, bad gateway, was registered later than the others.
    if !CloseCode::from(code).is_allowed() && code != BAD_GATEWAY {
        return Err(Violation::protocol("illegal close code"));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok((Some(code), reason)),
        Err(_) => Err(Violation {
            code: INVALID_PAYLOAD,
            what: "close reason that is not UTF-8",
        }),
    }
}

/// Longest payload of a control frame.
pub(super) const CONTROL_MAX: usize = 125;

pub(super) const NORMAL: u16 = 1000;
pub(super) const PROTOCOL_ERROR: u16 = 1002;
pub(super) const INVALID_PAYLOAD: u16 = 1007;
pub(super) const POLICY: u16 = 1008;
pub(super) const TOO_BIG: u16 = 1009;
pub(super) const INTERNAL: u16 = 1011;
const BAD_GATEWAY: u16 = 1014;

#[cfg(test)]
mod tests {
    use super::*;

    fn what(bytes: &[u8]) -> &'static str {
        parse(bytes).expect_err("a violation").what
    }

    #[test]
    fn heads_of_every_length_come_back() {
        for length in [0usize, 1, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut out = BytesMut::new();
                put(
                    &mut out,
                    Kind::Binary,
                    &vec![7; length],
                    mask,
                    Packing::Plain,
                );
                let (head, size) = parse(&out).expect("legal").expect("whole");
                assert_eq!(
                    (head.kind, head.last, head.mask),
                    (Kind::Binary, true, mask)
                );
                assert_eq!((head.length as usize, size + length), (length, out.len()));
                for cut in 0..size {
                    assert_eq!(parse(&out[..cut]), Ok(None), "cut at {cut} of {size}");
                }
            }
        }
    }

    #[test]
    fn illegal_heads_are_named() {
        assert_eq!(what(&[0x83, 0]), "reserved opcode");
        assert_eq!(what(&[0x8b, 0]), "reserved opcode");
        assert_eq!(what(&[0xa2, 0]), "reserved bit set");
        assert_eq!(what(&[0x92, 0]), "reserved bit set");
        assert_eq!(
            what(&[0x82, 126, 0, 125]),
            "length not in its shortest form"
        );
        assert_eq!(
            what(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            "length not in its shortest form"
        );
        assert_eq!(
            what(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            "length with its highest bit set"
        );
        assert_eq!(what(&[0x89, 126, 0, 126]), "control frame over 125 bytes");
        assert_eq!(what(&[0x09, 0]), "fragmented control frame");
    }

    #[test]
    fn close_codes_are_judged() {
        let legal = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ];
        for code in legal {
            let mut payload = u16::to_be_bytes(code).to_vec();
            payload.extend_from_slice(b"why");
            assert_eq!(parse_close(&payload), Ok((Some(code), "why")));
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ] {
            let refused = parse_close(&u16::to_be_bytes(code)).expect_err("illegal");
            assert_eq!(refused.code, PROTOCOL_ERROR, "{code}");
        }
        assert_eq!(parse_close(b""), Ok((None, "")));
        assert_eq!(
            parse_close(b"\x03").expect_err("half a code").code,
            PROTOCOL_ERROR
        );
        assert_eq!(
            parse_close(b"\x03\xe8\xff").expect_err("no text").code,
            INVALID_PAYLOAD
        );
    }

    /// getty up to 1.4.9 put free text where the two bytes of a status code belong (network.md A.10 row 21).
    #[test]
    fn a_close_frame_carries_a_code_and_then_its_reason() {
        let mut out = BytesMut::new();
        put_close(&mut out, Some(1000), "bye", None);
        assert_eq!(&out[..], b"\x88\x05\x03\xe8bye");
        let mut out = BytesMut::new();
        put_close(&mut out, Some(1009), &"ä".repeat(100), None);
        assert_eq!(out.len(), 2 + 2 + 122, "cut at a character");
        assert_eq!(parse_close(&out[2..]), Ok((Some(1009), &*"ä".repeat(61))));
        let mut out = BytesMut::new();
        put_close(&mut out, None, "", None);
        assert_eq!(&out[..], b"\x88\x00");
    }
}
