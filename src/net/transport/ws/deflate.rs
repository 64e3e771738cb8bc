//! Compression of messages (RFC 7692, permessage-deflate): each is a run of deflate blocks whose last four bytes, always
//! the same, are left out.
//!
//! The window to compress with is kept small by starting anew every so many bytes, so any size a peer asks for can be
//! agreed to. Inflating always has the full window, and never makes more than it is told to: a small frame that inflates
//! without end meets the limit on messages.

use bytes::BytesMut;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output,
    create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress_with_limit};

use super::extension::Agreed;
use super::frame::{INVALID_PAYLOAD, Violation};
use super::options::WsContext;

/// Both directions of one connection. What is large is made when it is first needed.
pub(super) struct Deflate {
    agreed: Agreed,
    deflater: Option<Box<CompressorOxide>>,
    inflater: Option<Box<Inflater>>,
    packed: BytesMut,
}

impl Deflate {
    pub(super) fn new(agreed: Agreed) -> Self {
        Deflate {
            agreed,
            deflater: None,
            inflater: None,
            packed: BytesMut::new(),
        }
    }

    /// The compressed form of a message, or `None` if it is to be sent as it is.
    pub(super) fn pack(&mut self, message: &[u8]) -> Option<&[u8]> {
        if message.len() < self.agreed.min_bytes.max(1) {
            return None;
        }
        let agreed = &self.agreed;
        let full_window = agreed.window_bits >= WINDOW_BITS_MAX;
        let deflater = self
            .deflater
            .get_or_insert_with(|| Box::new(CompressorOxide::new(flags(agreed.level))));
        if agreed.context == WsContext::Fresh {
            deflater.reset();
        }
        self.packed.clear();
        let packed = if full_window {
            deflate(deflater, message, &mut self.packed)
        } else {
            // Nothing refers back beyond the start of its chunk.
            message
                .chunks(1 << agreed.window_bits)
                .try_for_each(|chunk| {
                    deflater.reset();
                    deflate(deflater, chunk, &mut self.packed)
                })
        };
        if packed.is_none() {
            // What it remembers the peer has not seen.
            self.deflater = None;
            return None;
        }
        self.packed.strip_suffix(&TAIL)
    }

    /// Gives back memory that one large message has taken.
    pub(super) fn settle(&mut self) {
        if self.packed.capacity() > PACKED_KEPT {
            self.packed = BytesMut::new();
        }
    }

    /// Inflates `input`, appending at most `room` bytes to `above`.
    pub(super) fn inflate(
        &mut self,
        input: &[u8],
        room: usize,
        above: &mut BytesMut,
    ) -> Result<Inflated, Violation> {
        self.inflater
            .get_or_insert_default()
            .inflate(input, room, above)
    }

    /// The message whose last bytes, [`TAIL`] included, were inflated is over.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        let Some(inflater) = &mut self.inflater else {
            return Ok(());
        };
        if !inflater.between_blocks {
            return Err(broken("compressed message ends within a block"));
        }
        if self.agreed.peer_context == WsContext::Fresh {
            inflater.state.init();
        }
        Ok(())
    }
}

/// How far inflating came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inflated {
    /// Bytes of input used.
    pub(super) used: usize,
    /// There was no more room, and may be more output.
    pub(super) full: bool,
}

struct Inflater {
    state: DecompressorOxide,
    /// The last 32 KiB of output, which matches refer to: a ring.
    window: [u8; WINDOW],
    /// Where the next byte of output goes.
    at: usize,
    between_blocks: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater {
            state: DecompressorOxide::default(),
            window: [0; WINDOW],
            at: 0,
            between_blocks: true,
        }
    }
}

impl Inflater {
    fn inflate(
        &mut self,
        input: &[u8],
        room: usize,
        above: &mut BytesMut,
    ) -> Result<Inflated, Violation> {
        let (mut used, mut made) = (0, 0);
        loop {
            let (status, taken, grown) = decompress_with_limit(
                &mut self.state,
                &input[used..],
                &mut self.window,
                self.at,
                room - made,
                TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
            );
            above.extend_from_slice(&self.window[self.at..self.at + grown]);
            self.at = (self.at + grown) % WINDOW;
            used += taken;
            made += grown;
            match status {
                // A final block ends a deflate stream, not the message: another stream may follow.
                TINFLStatus::Done => {
                    self.state.init();
                    self.between_blocks = true;
                }
                TINFLStatus::BlockBoundary => self.between_blocks = true,
                TINFLStatus::NeedsMoreInput => {
                    self.between_blocks &= taken == 0;
                    return Ok(Inflated { used, full: false });
                }
                TINFLStatus::HasMoreOutput => {
                    self.between_blocks = false;
                    if made == room {
                        return Ok(Inflated { used, full: true });
                    }
                }
                _ => return Err(broken("not a deflate stream")),
            }
            if self.between_blocks && used == input.len() {
                return Ok(Inflated { used, full: false });
            }
        }
    }
}

/// Compresses `piece` and brings the stream to a byte boundary. `None` if the library fails, which no input makes it do.
fn deflate(deflater: &mut CompressorOxide, mut piece: &[u8], packed: &mut BytesMut) -> Option<()> {
    loop {
        let (status, taken) = compress_to_output(deflater, piece, TDEFLFlush::Sync, |ready| {
            packed.extend_from_slice(ready);
            true
        });
        piece = piece.get(taken..).unwrap_or_default();
        match status {
            TDEFLStatus::Okay if piece.is_empty() => return Some(()),
            TDEFLStatus::Okay if taken > 0 => {}
            _ => return None,
        }
    }
}

fn flags(level: u8) -> u32 {
    const RAW: i32 = -15;
    let strategy = CompressionStrategy::Default as i32;
    create_comp_flags_from_zip_params(i32::from(level.clamp(1, 9)), RAW, strategy)
}

const fn broken(what: &'static str) -> Violation {
    Violation {
        code: INVALID_PAYLOAD,
        what,
    }
}

/// What every compressed message ends with and no frame carries: an empty stored block, without its first byte.
pub(super) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The farthest a match refers back; a ring's size has to be a power of two.
const WINDOW: usize = 1 << WINDOW_BITS_MAX;

pub(super) const WINDOW_BITS_MAX: u8 = 15;

/// Room for compressed messages that is kept between two of them.
const PACKED_KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(window_bits: u8, context: WsContext) -> Agreed {
        Agreed {
            level: 6,
            min_bytes: 1,
            window_bits,
            context,
            peer_context: context,
        }
    }

    fn unpack(deflate: &mut Deflate, packed: &[u8], room: usize) -> Result<Vec<u8>, Violation> {
        let mut above = BytesMut::new();
        for mut input in [packed, &TAIL] {
            loop {
                let inflated = deflate.inflate(input, room, &mut above)?;
                input = &input[inflated.used..];
                if !inflated.full {
                    break;
                }
            }
            assert!(input.is_empty());
        }
        deflate.end()?;
        Ok(above.to_vec())
    }

    #[test]
    fn the_standards_examples() {
        // RFC 7692, 7.2.3: one block; the same again with what was sent before as dictionary; without compression; a
        // final block; two blocks.
        let mut deflate = Deflate::new(agreed(15, WsContext::Kept));
        for packed in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ] {
            for room in [1, 2, 5, 100] {
                if packed[1] == 0 && packed[0] == 0xf2 && room > 1 {
                    // Refers to what came right before it.
                    continue;
                }
                assert_eq!(
                    unpack(&mut deflate, packed, room).as_deref(),
                    Ok(&b"Hello"[..])
                );
            }
        }
    }

    #[test]
    fn what_is_packed_comes_back_with_any_window() {
        let text = b"the quick brown fox jumps over the lazy dog, ".repeat(3000);
        for bits in 8..=15 {
            for context in [WsContext::Kept, WsContext::Fresh] {
                let mut sender = Deflate::new(agreed(bits, context));
                let mut receiver = Deflate::new(agreed(bits, context));
                for message in [&text[..], &text[..100], b"x", &text[..40_000]] {
                    let packed = sender.pack(message).expect("compressed").to_vec();
                    assert_eq!(unpack(&mut receiver, &packed, 777).as_deref(), Ok(message));
                }
            }
        }
        let mut deflate = Deflate::new(agreed(15, WsContext::Kept));
        let first = deflate.pack(&text[..200]).expect("compressed").len();
        let again = deflate.pack(&text[..200]).expect("compressed").len();
        assert!(
            again < first / 2,
            "a kept context pays: {first}, then {again}"
        );
    }

    /// A chunk may only refer to itself, or a peer with the small window it asked for reads garbage.
    #[test]
    fn a_small_window_is_kept_to() {
        let text: Vec<u8> = (0..4000u32)
            .flat_map(|n| (n % 1000).to_le_bytes())
            .collect();
        let mut deflate = Deflate::new(agreed(9, WsContext::Kept));
        let packed = deflate.pack(&text).expect("compressed").to_vec();
        let mut state = Box::<DecompressorOxide>::default();
        let mut window = [0; 512];
        let (mut at, mut used, mut plain) = (0, 0, Vec::new());
        while plain.len() < text.len() {
            let (status, taken, made) = decompress_with_limit(
                &mut state,
                &packed[used..],
                &mut window,
                at,
                usize::MAX,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            assert!(status == TINFLStatus::HasMoreOutput || status == TINFLStatus::NeedsMoreInput);
            plain.extend_from_slice(&window[at..at + made]);
            at = (at + made) % window.len();
            used += taken;
        }
        assert_eq!(plain, text);
    }

    #[test]
    fn broken_streams_are_violations() {
        let mut deflate = Deflate::new(agreed(15, WsContext::Kept));
        assert_eq!(
            unpack(&mut deflate, &[0xff, 0xff, 0xff], 100)
                .expect_err("garbage")
                .code,
            INVALID_PAYLOAD
        );
        let mut deflate = Deflate::new(agreed(15, WsContext::Kept));
        let cut = unpack(&mut deflate, &[0xf2, 0x48, 0xcd], 100).expect_err("cut");
        assert_eq!(cut.code, INVALID_PAYLOAD);
    }
}
