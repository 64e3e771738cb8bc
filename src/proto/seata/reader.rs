//! Reads the primitives of wire.md 3.2 from a body. Nothing is allocated: texts are slices of the body.

use bytes::Bytes;

use crate::proto::{DecodeError, Text};

/// A position in a body. Copying it is a way to look ahead.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
    end: usize,
    /// The message being read, for errors.
    pub(super) type_code: i16,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a Bytes) -> Self {
        Self {
            body,
            at: 0,
            end: body.len(),
            type_code: 0,
        }
    }

    pub(super) fn remaining(&self) -> usize {
        self.end - self.at
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// Text behind an i16 length. Null, empty and every negative length are the empty text.
    pub(super) fn s16(&mut self, field: &'static str) -> Result<Text, DecodeError> {
        let length = self.i16(field)?;
        self.text(i32::from(length), field)
    }

    /// Text behind an i32 length, else as [`Reader::s16`].
    pub(super) fn s32(&mut self, field: &'static str) -> Result<Text, DecodeError> {
        let length = self.i32(field)?;
        self.text(length, field)
    }

    /// Text behind an i8 length, as one peer writes its failure texts.
    pub(super) fn s8(&mut self, field: &'static str) -> Result<Text, DecodeError> {
        let length = self.u8(field)?;
        self.text(i32::from(length), field)
    }

    /// Text behind an i16 length that some writers leave out at the end of the body, or cut off: then it is empty, and
    /// so is all that follows.
    pub(super) fn trailing_s16(&mut self, field: &'static str) -> Text {
        let read = self.s16(field);
        self.or_nothing(read)
    }

    /// As [`Reader::trailing_s16`] with an i32 length.
    pub(super) fn trailing_s32(&mut self, field: &'static str) -> Text {
        let read = self.s32(field);
        self.or_nothing(read)
    }

    /// One byte that must be a number of an enumeration.
    pub(super) fn number<T>(
        &mut self,
        field: &'static str,
        known: impl FnOnce(u8) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let number = self.u8(field)?;
        known(number).ok_or(DecodeError::Number {
            type_code: self.type_code,
            field,
            number,
        })
    }

    /// A reader of the next `bytes` bytes, or None when there are fewer. This reader is then behind them.
    pub(super) fn part(&mut self, bytes: i32) -> Option<Reader<'a>> {
        let end = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| self.at.checked_add(bytes))
            .filter(|end| *end <= self.end)?;
        let part = Reader { end, ..*self };
        self.at = end;
        Some(part)
    }

    pub(super) fn short(&self, field: &'static str) -> DecodeError {
        DecodeError::Short {
            type_code: self.type_code,
            field,
        }
    }

    fn text(&mut self, length: i32, field: &'static str) -> Result<Text, DecodeError> {
        if length <= 0 {
            return Ok(Text::new());
        }
        let part = self.part(length).ok_or_else(|| self.short(field))?;
        Ok(Text::from_utf8_lossy(self.body.slice(part.at..part.end)))
    }

    fn or_nothing(&mut self, read: Result<Text, DecodeError>) -> Text {
        read.unwrap_or_else(|_| {
            self.at = self.end;
            Text::new()
        })
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.body[self.at..self.end].first_chunk::<N>();
        let bytes = *bytes.ok_or_else(|| self.short(field))?;
        self.at += N;
        Ok(bytes)
    }
}
