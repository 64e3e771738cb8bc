//! The head map of a frame: pairs of texts between head and body (wire.md 2).
//!
//! Kept as the bytes of the wire and read on demand, since nearly every frame has none and the coordinator needs no
//! entry. Seata itself writes none; tracing plugins do, so every key is accepted.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::HEAD_BYTES;
use super::{EncodeError, FrameError, Text};

/// Ordered pairs of a key and a value that may be null. An empty map holds no memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeadMap(Bytes);

impl HeadMap {
    /// The most bytes that fit between the fixed head and the largest head length.
    pub const BYTES_MAX: usize = i16::MAX as usize - HEAD_BYTES;

    /// No entries.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Checks and keeps the bytes between the fixed head and the body.
    pub(super) fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            read_text(&mut rest)?;
            read_text(&mut rest)?;
        }
        Ok(Self(bytes))
    }

    /// A map with these entries, in this order. Java's readers keep the last of equal keys. Write an empty value and
    /// never null to peers that may be Go: they take null for a length of 65535.
    ///
    /// # Errors
    /// [`EncodeError::HeadMapTooLong`] when the entries need more than [`HeadMap::BYTES_MAX`] bytes.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Self, EncodeError> {
        let mut bytes = BytesMut::new();
        for (key, value) in pairs {
            for text in [Some(key), value] {
                let Some(text) = text else {
                    bytes.put_i16(-1);
                    continue;
                };
                let total = bytes.len().saturating_add(text.len()).saturating_add(2);
                if total > Self::BYTES_MAX {
                    return Err(EncodeError::HeadMapTooLong(total));
                }
                bytes.put_i16(i16::try_from(text.len()).expect("below the limit just checked"));
                bytes.put_slice(text.as_bytes());
            }
        }
        if bytes.len() > Self::BYTES_MAX {
            return Err(EncodeError::HeadMapTooLong(bytes.len()));
        }
        Ok(Self(bytes.freeze()))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in the order of the wire. A null key is passed over, as Java's writers never send one.
    pub fn iter(&self) -> impl Iterator<Item = (Text, Option<Text>)> + '_ {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let key = take_text(&mut rest);
                let value = take_text(&mut rest);
                if let Some(key) = key {
                    return Some((key, value));
                }
            }
            None
        })
    }

    /// The value of the last entry with this key, unless it is null.
    pub fn get(&self, key: &str) -> Option<Text> {
        self.iter().filter(|(k, _)| k == key).last()?.1
    }

    /// The bytes of the wire.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HeadMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Steps over one text. -1 stands for null; no writer makes another negative length.
fn read_text(rest: &mut &[u8]) -> Result<(), FrameError> {
    let (length, tail) = rest.split_first_chunk().ok_or(FrameError::HeadMap)?;
    *rest = match i16::from_be_bytes(*length) {
        -1 => tail,
        length => usize::try_from(length)
            .ok()
            .and_then(|length| tail.get(length..))
            .ok_or(FrameError::HeadMap)?,
    };
    Ok(())
}

/// Takes one text from bytes that [`HeadMap::decode`] or [`HeadMap::from_pairs`] found well formed.
fn take_text(rest: &mut Bytes) -> Option<Text> {
    let length = usize::try_from(rest.get_i16()).ok()?;
    Some(Text::from_utf8_lossy(rest.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_empty_and_unicode_survive_in_order() {
        let pairs = [
            ("k", None),
            ("e", Some("")),
            ("键", Some("值")),
            ("e", Some("2")),
        ];
        let map = HeadMap::from_pairs(pairs).unwrap();
        let again = HeadMap::decode(map.0.clone()).unwrap();
        let read: Vec<_> = again.iter().collect();
        assert_eq!(read.len(), 4);
        for ((key, value), (k, v)) in read.iter().zip(pairs) {
            assert_eq!(key, k);
            assert_eq!(value.as_deref(), v);
        }
        assert_eq!(again.get("e").as_deref(), Some("2"));
        assert_eq!(again.get("k"), None);
    }

    #[test]
    fn entries_must_fill_the_head() {
        for bad in [
            &[0][..],
            &[0, 1],
            &[0, 1, b'k'],
            &[0, 1, b'k', 0],
            &[0, 1, b'k', 0, 2, b'v'],
            &[0xff, 0xfe, 0, 0],
            &[0x7f, 0xff, b'k'],
        ] {
            let map = HeadMap::decode(Bytes::copy_from_slice(bad));
            assert_eq!(map, Err(FrameError::HeadMap), "{bad:?}");
        }
    }

    #[test]
    fn a_null_key_is_passed_over() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0, 1, b'x', 0, 1, b'k', 0, 1, b'v']);
        let map = HeadMap::decode(bytes).unwrap();
        let read: Vec<_> = map.iter().collect();
        assert_eq!(read, [(Text::from("k"), Some(Text::from("v")))]);
    }

    #[test]
    fn too_many_bytes_are_refused() {
        let long = "x".repeat(HeadMap::BYTES_MAX);
        let map = HeadMap::from_pairs([("k", Some(long.as_str()))]);
        assert!(matches!(map, Err(EncodeError::HeadMapTooLong(_))));
        let fits = &long[..HeadMap::BYTES_MAX - 5];
        assert!(HeadMap::from_pairs([("k", Some(fits))]).is_ok());
    }
}
