//! Writes the primitives of wire.md 3.2 behind a body that grows.

use bytes::{BufMut, BytesMut};

use crate::proto::version::ExceptionTable;
use crate::proto::{EncodeError, Text};

/// Appends to `out`; lengths that are known late are written as zero and patched.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut BytesMut,
    pub(super) table: ExceptionTable,
    /// The message being written, for errors.
    pub(super) type_code: i16,
}

impl Writer<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// Text behind an i16 length. Longer text is refused: its length would wrap and the reader would misread all that
    /// follows.
    pub(super) fn s16(&mut self, field: &'static str, text: &Text) -> Result<(), EncodeError> {
        let bytes = text.as_bytes();
        let length = i16::try_from(bytes.len()).map_err(|_| self.too_long(field, bytes.len()))?;
        self.out.put_i16(length);
        self.out.put_slice(bytes);
        Ok(())
    }

    /// Text behind an i32 length.
    pub(super) fn s32(&mut self, field: &'static str, text: &Text) -> Result<(), EncodeError> {
        let bytes = text.as_bytes();
        let length = i32::try_from(bytes.len()).map_err(|_| self.too_long(field, bytes.len()))?;
        self.out.put_i32(length);
        self.out.put_slice(bytes);
        Ok(())
    }

    /// The text of a failure, cut to what the reader's release writes itself and to what fits.
    pub(super) fn failure_text(&mut self, text: &str) {
        let text = cut(text, self.table.failure_text_units_max());
        self.out
            .put_i16(i16::try_from(text.len()).expect("cut to fit"));
        self.out.put_slice(text.as_bytes());
    }

    /// Writes `L`, then what `write` appends, then sets `L` to its length.
    pub(super) fn measured(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.out.len();
        self.out.put_i32(0);
        write(self)?;
        let bytes = self.out.len() - start - 4;
        let length = i32::try_from(bytes).map_err(|_| EncodeError::FrameTooLong(bytes))?;
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn too_long(&self, field: &'static str, bytes: usize) -> EncodeError {
        EncodeError::TextTooLong {
            type_code: self.type_code,
            field,
            bytes,
        }
    }
}

/// The longest start of `text` that ends between characters, has at most `units` UTF-16 units and at most 32767 bytes.
fn cut(text: &str, units: usize) -> &str {
    const BYTES_MAX: usize = i16::MAX as usize;
    if text.len() <= units.min(BYTES_MAX) {
        return text;
    }
    let mut left = units;
    for (at, char) in text.char_indices() {
        if char.len_utf16() > left || at + char.len_utf8() > BYTES_MAX {
            return &text[..at];
        }
        left -= char.len_utf16();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("abc", 128), "abc");
        assert_eq!(cut(&"a".repeat(200), 128).len(), 128);
        assert_eq!(cut(&"é".repeat(200), 128).chars().count(), 128);
        assert_eq!(cut(&"é".repeat(128), 128).chars().count(), 128);
        // An emoji takes two units and is not halved.
        let text = format!("{}😀tail", "a".repeat(127));
        assert_eq!(cut(&text, 128), "a".repeat(127));
        let text = format!("{}😀tail", "a".repeat(126));
        assert_eq!(cut(&text, 128), format!("{}😀", "a".repeat(126)));
        // 32767 two-byte characters would overflow the length.
        assert_eq!(cut(&"é".repeat(32767), 32767).len(), 32766);
        assert_eq!(cut(&"é".repeat(16383), 32767).len(), 32766);
        assert_eq!(cut("", 0), "");
    }
}
