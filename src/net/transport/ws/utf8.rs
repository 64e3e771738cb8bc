//! UTF-8 checked piece by piece: a wrong byte is found when it comes, not when its message ends (RFC 6455, 8.1).

use std::str::from_utf8;

/// What is known of a text so far: the start of a character whose rest has not come.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    open: [u8; 4],
    len: usize,
}

/// The text is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Utf8 {
    /// The text goes on with `piece`.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), Invalid> {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            self.open[self.len] = byte;
            self.len += 1;
            match from_utf8(&self.open[..self.len]) {
                Ok(_) => self.len = 0,
                Err(e) if e.error_len().is_some() => return Err(Invalid),
                Err(_) => {}
            }
        }
        let Err(e) = from_utf8(piece) else {
            return Ok(());
        };
        if e.error_len().is_some() {
            return Err(Invalid);
        }
        let open = &piece[e.valid_up_to()..];
        self.open[..open.len()].copy_from_slice(open);
        self.len = open.len();
        Ok(())
    }

    /// The text ends here; the next one may begin.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        match std::mem::take(&mut self.len) {
            0 => Ok(()),
            _ => Err(Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_bytes_are_found_when_they_come() {
        // The last byte of each is the first that cannot follow.
        for text in [
            &b"\xff"[..],
            b"ok\xc0",
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf0\x80",
            b"\xf4\x90",
            b"\xce\xba\xe1\xbd\xb9\xf4\x90",
            b"\xc3\x28",
        ] {
            let mut utf8 = Utf8::default();
            let (last, before) = text.split_last().expect("a text");
            for byte in before {
                assert_eq!(utf8.push(&[*byte]), Ok(()), "{text:x?}");
            }
            assert_eq!(utf8.push(&[*last]), Err(Invalid), "{text:x?}");
        }
    }

    #[test]
    fn a_text_may_not_end_within_a_character() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push("aß".as_bytes()), Ok(()));
        assert_eq!(utf8.end(), Ok(()));
        assert_eq!(utf8.push(b"\xf0\x9f"), Ok(()));
        assert_eq!(utf8.end(), Err(Invalid));
        assert_eq!(utf8.push(b"new"), Ok(()));
        assert_eq!(utf8.end(), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x80..0xc0u8, Just(0xf0), Just(0x61)], 0..24),
            text in ".{0,6}",
            cuts in proptest::collection::vec(0usize..40, 0..6),
        ) {
            for sample in [bytes, text.into_bytes()] {
                let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (sample.len() + 1)).collect();
                cuts.extend([0, sample.len()]);
                cuts.sort_unstable();
                let mut utf8 = Utf8::default();
                let pieces = cuts.windows(2).try_for_each(|w| utf8.push(&sample[w[0]..w[1]]));
                let whole = pieces.and_then(|()| utf8.end());
                prop_assert_eq!(whole.is_ok(), from_utf8(&sample).is_ok());
            }
        }
    }
}
