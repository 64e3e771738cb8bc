//! The containers in which Java clients compress documents (client.md 4.3), both ways.
//!
//! | name | container |
//! |---|---|
//! | GZIP | a gzip stream |
//! | ZIP | an archive with one entry. Java cuts its end off, so it is read from its start; we write whole archives |
//! | BZIP2 | a bzip2 stream without its first two bytes, `BZ` |
//! | LZ4 | the block stream of lz4-java, which is not the frame format of LZ4 |
//! | DEFLATER | a zlib stream |
//! | ZSTD | a Zstandard frame; its header has to say how long the document is |
//!
//! 7z, which clients of version 1 could write, is not read.

use std::borrow::Cow;
use std::io::Read;

use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate_step};

use super::{Compressor, Error};

/// Compresses a document.
pub(super) fn compress(document: Vec<u8>, compressor: Compressor) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| Error::Compression {
        compressor,
        what: error.to_string(),
    };
    Ok(match compressor {
        Compressor::None => document,
        Compressor::Gzip => write_gzip(&document),
        Compressor::Zip => write_zip(&document),
        Compressor::Bzip2 => {
            let mut content = Vec::new();
            let level = bzip2::Compression::default();
            let mut encoder = bzip2::read::BzEncoder::new(document.as_slice(), level);
            encoder.read_to_end(&mut content).map_err(failed)?;
            content.split_off(BZIP2_START.len().min(content.len()))
        }
        Compressor::Lz4 => write_lz4_blocks(&document),
        Compressor::Deflater => compress_to_vec_zlib(&document, DEFLATE_LEVEL),
        Compressor::Zstd => zstd::bulk::compress(&document, ZSTD_LEVEL).map_err(failed)?,
    })
}

/// Decompresses a document of at most `bytes_max` bytes.
pub(super) fn decompress(
    content: &[u8],
    compressor: Compressor,
    bytes_max: usize,
) -> Result<Cow<'_, [u8]>, Error> {
    let document = match compressor {
        Compressor::None if content.len() > bytes_max => Err(Damage::TooLong),
        Compressor::None => return Ok(Cow::Borrowed(content)),
        Compressor::Gzip => read_gzip(content, bytes_max),
        Compressor::Zip => read_zip(content, bytes_max),
        Compressor::Bzip2 => {
            let start = if content.starts_with(BZIP2_START) {
                &[]
            } else {
                BZIP2_START
            };
            read_at_most(bzip2::read::BzDecoder::new(start.chain(content)), bytes_max)
        }
        Compressor::Lz4 => read_lz4_blocks(content, bytes_max),
        Compressor::Deflater => {
            inflate(content, TINFL_FLAG_PARSE_ZLIB_HEADER, bytes_max).map(|(document, _)| document)
        }
        Compressor::Zstd => zstd::stream::read::Decoder::new(content)
            .map_err(|error| Damage::Says(error.to_string()))
            .and_then(|decoder| read_at_most(decoder, bytes_max)),
    };
    document.map(Cow::Owned).map_err(|damage| match damage {
        Damage::TooLong => Error::TooLarge { bytes_max },
        Damage::Here(what) => Error::Compression {
            compressor,
            what: what.to_owned(),
        },
        Damage::Says(what) => Error::Compression { compressor, what },
    })
}

enum Damage {
    TooLong,
    Here(&'static str),
    Says(String),
}

fn read_at_most(reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, Damage> {
    let mut document = Vec::new();
    let mut limited = reader.take(bytes_max as u64 + 1);
    match limited.read_to_end(&mut document) {
        Ok(read) if read > bytes_max => Err(Damage::TooLong),
        Ok(_) => Ok(document),
        Err(error) => Err(Damage::Says(error.to_string())),
    }
}

/// Decompresses a deflate stream, and says how long it was.
fn inflate(content: &[u8], flags: u32, bytes_max: usize) -> Result<(Vec<u8>, usize), Damage> {
    let flags = flags | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut state = Box::<DecompressorOxide>::default();
    let mut document = vec![
        0;
        content
            .len()
            .saturating_mul(4)
            .clamp(64, 1 << 20)
            .min(bytes_max)
    ];
    let (mut read, mut written) = (0, 0);
    loop {
        let (status, consumed, produced) =
            inflate_step(&mut state, &content[read..], &mut document, written, flags);
        read += consumed;
        written += produced;
        match status {
            TINFLStatus::Done => {
                document.truncate(written);
                return Ok((document, read));
            }
            TINFLStatus::HasMoreOutput if document.len() >= bytes_max => {
                return Err(Damage::TooLong);
            }
            TINFLStatus::HasMoreOutput => {
                let length = document.len().saturating_mul(2).clamp(64, bytes_max);
                document.resize(length, 0);
            }
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                return Err(Damage::Here("the compressed data ends too early"));
            }
            TINFLStatus::Adler32Mismatch => return Err(Damage::Here("the checksum is wrong")),
            _ => return Err(Damage::Here("the compressed data is damaged")),
        }
    }
}

fn write_gzip(document: &[u8]) -> Vec<u8> {
    // No name, no time, the system is not told.
    let mut content = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    content.extend_from_slice(&compress_to_vec(document, DEFLATE_LEVEL));
    content.extend_from_slice(&crc32(document).to_le_bytes());
    content.extend_from_slice(&(document.len() as u32).to_le_bytes());
    content
}

/// RFC 1952; one member.
fn read_gzip(content: &[u8], bytes_max: usize) -> Result<Vec<u8>, Damage> {
    const CUT: Damage = Damage::Here("the gzip header ends too early");
    let mut rest = match content {
        [0x1F, 0x8B, 8, ..] => content.get(10..).ok_or(CUT)?,
        _ => return Err(Damage::Here("no gzip stream")),
    };
    let flags = content[3];
    if flags & 4 != 0 {
        let (length, behind) = rest.split_at_checked(2).ok_or(CUT)?;
        rest = behind
            .get(usize::from(u16::from_le_bytes([length[0], length[1]]))..)
            .ok_or(CUT)?;
    }
    // The name and the comment end with a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(CUT)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).ok_or(CUT)?;
    }
    let (document, read) = inflate(rest, 0, bytes_max)?;
    let trailer = [crc32(&document), document.len() as u32].map(u32::to_le_bytes);
    match rest.get(read..read + 8) {
        Some(found) if found == trailer.as_flattened() => Ok(document),
        Some(_) => Err(Damage::Here("the checksum is wrong")),
        None => Err(Damage::Here("the compressed data ends too early")),
    }
}

/// An archive with one entry `zip`, as Java names it.
fn write_zip(document: &[u8]) -> Vec<u8> {
    let deflated = compress_to_vec(document, DEFLATE_LEVEL);
    let mut entry = Vec::new();
    // Version 2.0, no flags, deflated, at the first moment that a zip archive knows, 1980-01-01 00:00.
    for short in [20_u16, 0, 8, 0, 0x21] {
        entry.extend_from_slice(&short.to_le_bytes());
    }
    for long in [
        crc32(document),
        deflated.len() as u32,
        document.len() as u32,
    ] {
        entry.extend_from_slice(&long.to_le_bytes());
    }
    entry.extend_from_slice(&(ZIP_ENTRY.len() as u16).to_le_bytes());
    entry.extend_from_slice(&[0, 0]);

    let mut content = ZIP_LOCAL.to_vec();
    content.extend_from_slice(&entry);
    content.extend_from_slice(ZIP_ENTRY);
    content.extend_from_slice(&deflated);
    let directory = content.len();
    content.extend_from_slice(b"PK\x01\x02\x14\0");
    content.extend_from_slice(&entry);
    // No comment, first disk, no attributes, entry at 0.
    content.extend_from_slice(&[0; 14]);
    content.extend_from_slice(ZIP_ENTRY);
    let directory_length = content.len() - directory;
    content.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    content.extend_from_slice(&(directory_length as u32).to_le_bytes());
    content.extend_from_slice(&(directory as u32).to_le_bytes());
    content.extend_from_slice(&[0, 0]);
    content
}

/// The first entry of an archive, read from its local header; what stands behind it does not matter.
fn read_zip(content: &[u8], bytes_max: usize) -> Result<Vec<u8>, Damage> {
    const CUT: Damage = Damage::Here("the archive ends too early");
    if !content.starts_with(ZIP_LOCAL) {
        // seata-go's zip is a zlib stream.
        return match inflate(content, TINFL_FLAG_PARSE_ZLIB_HEADER, bytes_max) {
            Err(Damage::Here(_)) => Err(Damage::Here("no zip archive")),
            other => other.map(|(document, _)| document),
        };
    }
    let header = content.get(..30).ok_or(CUT)?;
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let (flags, method) = (short(6), short(8));
    if flags & 1 != 0 {
        return Err(Damage::Here("the archive is encrypted"));
    }
    if method != 8 {
        return Err(Damage::Here("the entry is not deflated"));
    }
    let start = 30 + usize::from(short(26)) + usize::from(short(28));
    let deflated = content.get(start..).ok_or(CUT)?;
    let (document, read) = inflate(deflated, 0, bytes_max)?;
    let sum = if flags & 8 == 0 {
        Some(&header[14..18])
    } else {
        // Behind the data, with or without a signature of its own.
        let behind = &deflated[read..];
        behind
            .strip_prefix(b"PK\x07\x08")
            .unwrap_or(behind)
            .get(..4)
    };
    match sum {
        Some(sum) if sum == crc32(&document).to_le_bytes() => Ok(document),
        Some(_) => Err(Damage::Here("the checksum is wrong")),
        None => Err(CUT),
    }
}

fn write_lz4_blocks(document: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut block = |method: u8, compressed: &[u8], plain: &[u8]| {
        content.extend_from_slice(LZ4_START);
        content.push(method | LZ4_LEVEL);
        content.extend_from_slice(&(compressed.len() as u32).to_le_bytes());
        content.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        let sum = if plain.is_empty() {
            0
        } else {
            lz4_checksum(plain)
        };
        content.extend_from_slice(&sum.to_le_bytes());
        content.extend_from_slice(compressed);
    };
    for plain in document.chunks(LZ4_BLOCK_BYTES) {
        let compressed = lz4_flex::block::compress(plain);
        if compressed.len() < plain.len() {
            block(LZ4_COMPRESSED, &compressed, plain);
        } else {
            block(LZ4_RAW, plain, plain);
        }
    }
    // A block without content ends the stream.
    block(LZ4_RAW, &[], &[]);
    content
}

fn read_lz4_blocks(content: &[u8], bytes_max: usize) -> Result<Vec<u8>, Damage> {
    const CUT: Damage = Damage::Here("the stream ends too early");
    let mut document = Vec::new();
    let mut rest = content;
    loop {
        let (head, behind) = rest.split_at_checked(LZ4_HEAD_BYTES).ok_or(CUT)?;
        let Some([token, numbers @ ..]) = head.strip_prefix(LZ4_START) else {
            return Err(Damage::Here("a block does not start with LZ4Block"));
        };
        let number = |at: usize| {
            u32::from_le_bytes([
                numbers[at],
                numbers[at + 1],
                numbers[at + 2],
                numbers[at + 3],
            ])
        };
        let (compressed, plain, sum) = (number(0) as usize, number(4) as usize, number(8));
        if plain == 0 {
            return Ok(document);
        }
        if plain > 1 << (10 + (token & 15)) {
            return Err(Damage::Here("a block is larger than its stream allows"));
        }
        if plain > bytes_max - document.len() {
            return Err(Damage::TooLong);
        }
        let (block, behind) = behind.split_at_checked(compressed).ok_or(CUT)?;
        let start = document.len();
        match token & 0xF0 {
            LZ4_RAW if compressed == plain => document.extend_from_slice(block),
            LZ4_COMPRESSED => {
                document.resize(start + plain, 0);
                let written = lz4_flex::block::decompress_into(block, &mut document[start..]);
                if written.ok() != Some(plain) {
                    return Err(Damage::Here("a block is damaged"));
                }
            }
            _ => return Err(Damage::Here("a block is neither compressed nor plain")),
        }
        if lz4_checksum(&document[start..]) != sum {
            return Err(Damage::Here("the checksum of a block is wrong"));
        }
        rest = behind;
    }
}

/// With lz4-java's seed; the four highest bits are not used.
fn lz4_checksum(bytes: &[u8]) -> u32 {
    xxhash32(bytes, 0x9747_B28C) & 0x0FFF_FFFF
}

fn xxhash32(bytes: &[u8], seed: u32) -> u32 {
    const PRIMES: [u32; 5] = [
        0x9E37_79B1,
        0x85EB_CA77,
        0xC2B2_AE3D,
        0x27D4_EB2F,
        0x1656_67B1,
    ];
    let word = |four: &[u8]| u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    let round = |lane: u32, word: u32| {
        let lane = lane.wrapping_add(word.wrapping_mul(PRIMES[1]));
        lane.rotate_left(13).wrapping_mul(PRIMES[0])
    };
    let stripes = bytes.chunks_exact(16);
    let rest = stripes.remainder();
    let mut hash = if bytes.len() < 16 {
        seed.wrapping_add(PRIMES[4])
    } else {
        let mut lanes = [
            seed.wrapping_add(PRIMES[0]).wrapping_add(PRIMES[1]),
            seed.wrapping_add(PRIMES[1]),
            seed,
            seed.wrapping_sub(PRIMES[0]),
        ];
        for stripe in stripes {
            for (lane, four) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                *lane = round(*lane, word(four));
            }
        }
        let turned = lanes
            .iter()
            .zip([1, 7, 12, 18])
            .map(|(lane, by)| lane.rotate_left(by));
        turned.fold(0, u32::wrapping_add)
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    let words = rest.chunks_exact(4);
    let last = words.remainder();
    for four in words {
        hash = hash.wrapping_add(word(four).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in last {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

/// The checksum of gzip and zip.
fn crc32(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(!0_u32, |sum, byte| {
        (sum >> 8) ^ CRC32[usize::from(sum as u8 ^ byte)]
    });
    !sum
}

static CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xEDB8_8320
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

/// zlib's default.
const DEFLATE_LEVEL: u8 = 6;
/// Zstandard's default.
const ZSTD_LEVEL: i32 = 3;
const BZIP2_START: &[u8] = b"BZ";
const ZIP_LOCAL: &[u8] = b"PK\x03\x04";
const ZIP_ENTRY: &[u8] = b"zip";
const LZ4_START: &[u8] = b"LZ4Block";
const LZ4_HEAD_BYTES: usize = LZ4_START.len() + 13;
const LZ4_RAW: u8 = 0x10;
const LZ4_COMPRESSED: u8 = 0x20;
/// Blocks of 64 KiB, lz4-java's default, as the stream says it: 2^(10 + level).
const LZ4_LEVEL: u8 = 6;
const LZ4_BLOCK_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compressor; 7] = [
        Compressor::None,
        Compressor::Gzip,
        Compressor::Zip,
        Compressor::Bzip2,
        Compressor::Lz4,
        Compressor::Deflater,
        Compressor::Zstd,
    ];

    fn documents() -> Vec<Vec<u8>> {
        let mut random = 1_u64;
        let noise = std::iter::repeat_with(|| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as u8
        });
        vec![
            Vec::new(),
            b"{}".to_vec(),
            "{\"name\":\"id\"}".repeat(20_000).into_bytes(),
            noise.take(100_000).collect(),
        ]
    }

    #[test]
    fn documents_come_back_from_every_container() {
        for compressor in ALL {
            for document in documents() {
                let content = compress(document.clone(), compressor).expect("compresses");
                let read = decompress(&content, compressor, document.len());
                assert_eq!(read.as_deref(), Ok(document.as_slice()), "{compressor}");
                if !document.is_empty() {
                    let read = decompress(&content, compressor, document.len() - 1);
                    assert_eq!(
                        read,
                        Err(Error::TooLarge {
                            bytes_max: document.len() - 1
                        }),
                        "{compressor}"
                    );
                }
            }
        }
    }

    #[test]
    fn content_that_is_cut_or_damaged_is_an_error() {
        let document = "{\"name\":\"id\"}".repeat(1000).into_bytes();
        for compressor in ALL.into_iter().skip(1) {
            let content = compress(document.clone(), compressor).expect("compresses");
            // The end of a zip archive is not read, and its start is the length of the data.
            let needed = if compressor == Compressor::Zip {
                content.len() - 71
            } else {
                content.len()
            };
            for end in (0..needed).step_by(7).chain([needed - 1]) {
                let read = decompress(&content[..end], compressor, 1 << 20);
                assert!(
                    read.is_err(),
                    "{compressor} cut at {end} of {}",
                    content.len()
                );
            }
            let mut damaged = content.clone();
            let middle = needed / 2;
            damaged[middle] ^= 0x55;
            assert_ne!(
                decompress(&damaged, compressor, 1 << 20).as_deref(),
                Ok(document.as_slice()),
                "{compressor}"
            );
        }
    }

    #[test]
    fn an_archive_without_its_end_is_read() {
        let document = b"{}".repeat(100);
        let whole = compress(document.clone(), Compressor::Zip).expect("compresses");
        let deflated = compress_to_vec(&document, 6);
        let mut java =
            b"PK\x03\x04\x14\0\x08\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0zip".to_vec();
        java.extend_from_slice(&deflated);
        java.extend_from_slice(b"PK\x07\x08");
        java.extend_from_slice(&crc32(&document).to_le_bytes());
        for content in [whole, java, compress_to_vec_zlib(&document, 6)] {
            assert_eq!(
                decompress(&content, Compressor::Zip, 1000).as_deref(),
                Ok(document.as_slice())
            );
        }
    }

    #[test]
    fn sums_are_those_of_the_formats() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        for (text, sum) in [
            ("", 0x02CC_5D05),
            ("a", 0x550D_7456),
            ("abc", 0x32D1_53FF),
            ("Nobody inspects the spammish repetition", 0xE229_3B2F),
        ] {
            assert_eq!(xxhash32(text.as_bytes(), 0), sum, "{text}");
        }
    }
}
