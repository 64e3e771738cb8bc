//! Snappy's framing format in both directions: chunks of at most 64 KiB, each with a checksum of its own.
//!
//! Every piece is sent in chunks of its own at once, so a turn leaves nothing behind. Of what is received, chunks of
//! reserved kinds that may be skipped are skipped without being kept.

use bytes::{Buf, BufMut, BytesMut};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use crate::net::transport::layer::{Layer, LayerError, Progress};

#[derive(Default)]
pub(super) struct Snappy {
    /// Made when something is sent for the first time.
    encoder: Option<Encoder>,
    /// The chunk that is being received, as far as it has come.
    chunk: BytesMut,
    /// Bytes of a skipped chunk still to come.
    skip: usize,
    /// Whether the peer has named the format, as it must before anything else.
    named: bool,
}

/// What a chunk's first bytes announce.
struct Head {
    kind: u8,
    length: usize,
}

impl Layer for Snappy {
    fn start(&mut self, _out: &mut BytesMut) -> Result<(), LayerError> {
        Ok(())
    }

    fn is_established(&self) -> bool {
        true
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
        _out: &mut BytesMut,
    ) -> Result<Progress, LayerError> {
        let start = above.len();
        loop {
            let skipped = self.skip.min(below.len());
            below.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 || !self.collect(HEAD, below) {
                return Ok(Progress::Hungry);
            }
            let head = self.head()?;
            if head.kind >= SKIPPED && head.kind != NAME {
                self.skip = head.length;
                self.chunk.clear();
                continue;
            }
            if !self.collect(HEAD + head.length, below) {
                return Ok(Progress::Hungry);
            }
            let opened = self.opened_length(&head)?;
            let grown = above.len() - start;
            if grown > 0 && grown + opened > limit {
                return Ok(Progress::More);
            }
            self.open(&head, opened, above)?;
            self.chunk.clear();
        }
    }

    fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.encoder.is_none() {
            put_head(out, NAME, FORMAT.len());
            out.extend_from_slice(FORMAT);
        }
        let encoder = self.encoder.get_or_insert_with(Encoder::new);
        for part in piece.chunks(CHUNK) {
            put_chunk(encoder, part, out)?;
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut BytesMut) {}

    fn ended(&mut self) -> Result<(), LayerError> {
        if self.chunk.is_empty() && self.skip == 0 {
            Ok(())
        } else {
            Err(LayerError::Truncated)
        }
    }
}

impl Snappy {
    /// Moves bytes from `below` until the chunk has `length` of them. `false`: it has not.
    fn collect(&mut self, length: usize, below: &mut BytesMut) -> bool {
        let missing = length.saturating_sub(self.chunk.len());
        let taken = missing.min(below.len());
        self.chunk.extend_from_slice(&below[..taken]);
        below.advance(taken);
        taken == missing
    }

    /// Reads and checks the chunk's head.
    fn head(&self) -> Result<Head, LayerError> {
        let kind = self.chunk[0];
        let length = [self.chunk[1], self.chunk[2], self.chunk[3], 0];
        let length = u32::from_le_bytes(length) as usize;
        if !self.named && kind != NAME {
            return Err(corrupt("it does not begin with its name"));
        }
        let allowed = match kind {
            COMPRESSED => SUM..=SUM + max_compress_len(CHUNK),
            PLAIN => SUM..=SUM + CHUNK,
            NAME => FORMAT.len()..=FORMAT.len(),
            SKIPPED.. => 0..=usize::MAX,
            _ => return Err(corrupt("a chunk of an unknown kind")),
        };
        if !allowed.contains(&length) {
            return Err(corrupt("a chunk of impossible length"));
        }
        Ok(Head { kind, length })
    }

    /// How many bytes the whole chunk stands for.
    fn opened_length(&self, head: &Head) -> Result<usize, LayerError> {
        let length = match head.kind {
            COMPRESSED => decompress_len(&self.chunk[HEAD + SUM..]).unwrap_or(usize::MAX),
            PLAIN => head.length - SUM,
            _ => 0,
        };
        if length > CHUNK {
            return Err(corrupt("a chunk that stands for too much"));
        }
        Ok(length)
    }

    /// Appends the `opened` bytes that the whole chunk stands for.
    fn open(&mut self, head: &Head, opened: usize, above: &mut BytesMut) -> Result<(), LayerError> {
        let body = &self.chunk[HEAD..];
        if head.kind == NAME {
            self.named = true;
            return match body == FORMAT {
                true => Ok(()),
                false => Err(corrupt("another name")),
            };
        }
        let (mut sum, data) = body.split_at(SUM);
        let start = above.len();
        if head.kind == PLAIN {
            above.extend_from_slice(data);
        } else {
            above.put_bytes(0, opened);
            let made = Decoder::new().decompress(data, &mut above[start..]);
            if made != Ok(opened) {
                above.truncate(start);
                return Err(corrupt("a damaged chunk"));
            }
        }
        if masked_sum(&above[start..]) != sum.get_u32_le() {
            above.truncate(start);
            return Err(corrupt("a wrong checksum"));
        }
        Ok(())
    }
}

/// Appends one chunk that stands for `part`, compressed if that saves an eighth.
fn put_chunk(encoder: &mut Encoder, part: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
    let start = out.len();
    put_head(out, COMPRESSED, 0);
    out.put_u32_le(masked_sum(part));
    let data = out.len();
    out.put_bytes(0, max_compress_len(part.len()));
    let made = encoder
        .compress(part, &mut out[data..])
        .map_err(|e| LayerError::Protocol(e.to_string().into()))?;
    out.truncate(data + made);
    if made >= part.len() - part.len() / 8 {
        out[start] = PLAIN;
        out.truncate(data);
        out.extend_from_slice(part);
    }
    let length = (out.len() - start - HEAD) as u32;
    out[start + 1..start + HEAD].copy_from_slice(&length.to_le_bytes()[..3]);
    Ok(())
}

fn put_head(out: &mut BytesMut, kind: u8, length: usize) {
    out.put_u8(kind);
    out.put_uint_le(length as u64, 3);
}

/// CRC-32C, turned and offset as the format wants it.
fn masked_sum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn corrupt(why: &'static str) -> LayerError {
    LayerError::Protocol(format!("not a snappy stream: {why}").into())
}

/// Length of a chunk's kind and length.
const HEAD: usize = 4;
/// Length of a checksum.
const SUM: usize = 4;
/// Most bytes that one chunk stands for.
const CHUNK: usize = 64 << 10;

const COMPRESSED: u8 = 0x00;
const PLAIN: u8 = 0x01;
/// Kinds from here on may be skipped by those who do not know them, except the name.
const SKIPPED: u8 = 0x80;
const NAME: u8 = 0xff;
const FORMAT: &[u8] = b"sNaPpY";
