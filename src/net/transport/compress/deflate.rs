//! Raw deflate in both directions (RFC 1951), brought to a byte boundary at the end of each turn.
//!
//! A turn ends with an empty stored block, the connection with an empty final block, so the peer's inflater can tell an
//! orderly end from a broken one. A peer that ends at a block boundary without a final block, as getty does, ends in
//! order too.

use bytes::BytesMut;
use miniz_oxide::deflate::core::{
    CompressionStrategy, CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output,
    create_comp_flags_from_zip_params,
};

use super::inflate::Inflater;
use crate::net::config::DeflateLevel;
use crate::net::transport::layer::{Layer, LayerError, Progress};

pub(super) struct Deflate {
    level: DeflateLevel,
    /// Made when something is sent for the first time: it is large.
    deflater: Option<Box<CompressorOxide>>,
    /// Made when something is received for the first time.
    inflater: Option<Box<Inflater>>,
    /// Whether something was given to the deflater since it was last brought to a byte boundary.
    unflushed: bool,
}

impl Deflate {
    pub(super) fn new(level: DeflateLevel) -> Self {
        Deflate {
            level,
            deflater: None,
            inflater: None,
            unflushed: false,
        }
    }
}

impl Layer for Deflate {
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
        if below.is_empty() && self.inflater.is_none() {
            return Ok(Progress::Hungry);
        }
        let inflater = self.inflater.get_or_insert_default();
        inflater.inflate(below, above, limit)
    }

    fn send(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), LayerError> {
        if piece.is_empty() {
            return Ok(());
        }
        let deflater = self
            .deflater
            .get_or_insert_with(|| Box::new(CompressorOxide::new(flags(self.level))));
        self.unflushed = true;
        deflate(deflater, piece, TDEFLFlush::None, out)
    }

    fn flush(&mut self, out: &mut BytesMut) -> Result<(), LayerError> {
        match &mut self.deflater {
            Some(deflater) if self.unflushed => {
                self.unflushed = false;
                deflate(deflater, &[], TDEFLFlush::Sync, out)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        // After a flush the stream stands at a byte boundary, where any block may begin.
        if self.flush(out).is_ok() {
            out.extend_from_slice(&FINAL_BLOCK);
        }
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        match &self.inflater {
            Some(inflater) if !inflater.is_between_blocks() => Err(LayerError::Truncated),
            _ => Ok(()),
        }
    }
}

/// Gives all of `piece` to the deflater and appends what it has ready.
fn deflate(
    deflater: &mut CompressorOxide,
    mut piece: &[u8],
    flush: TDEFLFlush,
    out: &mut BytesMut,
) -> Result<(), LayerError> {
    loop {
        let (status, taken) = compress_to_output(deflater, piece, flush, |ready| {
            out.extend_from_slice(ready);
            true
        });
        piece = piece.get(taken..).unwrap_or_default();
        match status {
            TDEFLStatus::Okay if piece.is_empty() => return Ok(()),
            TDEFLStatus::Okay if taken > 0 => {}
            _ => return Err(LayerError::Protocol("the deflater failed".into())),
        }
    }
}

/// What the deflater is told, as getty's levels are meant: -1, 1, 9 and -2.
fn flags(level: DeflateLevel) -> u32 {
    const RAW: i32 = -15;
    let (level, strategy) = match level {
        DeflateLevel::Default => (6, CompressionStrategy::Default),
        DeflateLevel::Fast => (1, CompressionStrategy::Default),
        DeflateLevel::Best => (9, CompressionStrategy::Default),
        DeflateLevel::HuffmanOnly => (6, CompressionStrategy::HuffmanOnly),
    };
    create_comp_flags_from_zip_params(level, RAW, strategy as i32)
}

/// A last block of fixed codes with nothing in it.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
