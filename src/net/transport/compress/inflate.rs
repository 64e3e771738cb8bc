//! The receiving half of raw deflate: inflates into a window of its own and hands out as much as is asked for.

use bytes::{Buf, BytesMut};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress_with_limit};

use crate::net::transport::layer::{LayerError, Progress};

pub(super) struct Inflater {
    state: DecompressorOxide,
    /// The last 32 KiB of output, which matches refer to: a ring.
    window: [u8; WINDOW],
    /// Where the next byte of output goes.
    at: usize,
    /// Between two blocks, where a stream may end without a final one.
    between_blocks: bool,
    finished: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater {
            state: DecompressorOxide::default(),
            window: [0; WINDOW],
            at: 0,
            between_blocks: true,
            finished: false,
        }
    }
}

impl Inflater {
    /// Consumes `below` and appends at most `limit` bytes to `above`.
    pub(super) fn inflate(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        limit: usize,
    ) -> Result<Progress, LayerError> {
        let full = above.len().saturating_add(limit.max(1));
        while !self.finished {
            // Output may be left in the window even when all input is used.
            let (status, taken, made) = decompress_with_limit(
                &mut self.state,
                below,
                &mut self.window,
                self.at,
                full - above.len(),
                TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
            );
            below.advance(taken);
            above.extend_from_slice(&self.window[self.at..self.at + made]);
            self.at = (self.at + made) % WINDOW;
            match status {
                TINFLStatus::Done => self.finished = true,
                TINFLStatus::BlockBoundary => {
                    self.between_blocks = true;
                    if below.is_empty() {
                        return Ok(Progress::Hungry);
                    }
                }
                TINFLStatus::NeedsMoreInput => {
                    self.between_blocks &= taken == 0;
                    return Ok(Progress::Hungry);
                }
                TINFLStatus::HasMoreOutput => self.between_blocks = false,
                _ => return Err(LayerError::Protocol("not a deflate stream".into())),
            }
            if above.len() == full && !self.finished {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Finished)
    }

    /// Whether the stream may end here.
    pub(super) fn is_between_blocks(&self) -> bool {
        self.between_blocks || self.finished
    }
}

/// The farthest a match refers back; a ring's size has to be a power of two.
const WINDOW: usize = 32 << 10;
