//! Stands where compression would: there is none in this build, and no value of this type.

use bytes::BytesMut;

use super::frame::Violation;

pub(super) enum Deflate {}

impl Deflate {
    pub(super) fn pack(&mut self, _message: &[u8]) -> Option<&[u8]> {
        match *self {}
    }

    pub(super) fn settle(&mut self) {
        match *self {}
    }

    pub(super) fn inflate(
        &mut self,
        _input: &[u8],
        _room: usize,
        _above: &mut BytesMut,
    ) -> Result<Inflated, Violation> {
        match *self {}
    }

    pub(super) fn end(&mut self) -> Result<(), Violation> {
        match *self {}
    }
}

pub(super) struct Inflated {
    pub(super) used: usize,
    pub(super) full: bool,
}

pub(super) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
