//! Text of a message: UTF-8 that shares the buffer it was read from.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// Immutable UTF-8 text that may share a receive buffer. Cloning counts a reference, it does not copy.
///
/// Seata's serializer writes null and empty alike, so there is no null here: absent is empty. What is kept for long
/// (a store, a roster) should be copied out with `to_string` or [`Text::detached`], so that a short text does
/// not pin a large receive buffer.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// The empty text.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Text in static memory.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes bytes that should be UTF-8; invalid sequences are replaced, since some peers cut failure texts inside a
    /// character (wire.md T23).
    pub fn from_utf8_lossy(bytes: Bytes) -> Self {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Self(bytes),
            Err(_) => Self(Bytes::from(String::from_utf8_lossy(&bytes).into_owned())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every constructor leaves valid UTF-8")
    }

    /// The text as bytes, without the check that [`Text::as_str`] makes each time.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// No other text shares this one's memory. Text in static memory is never unique.
    pub fn is_unique(&self) -> bool {
        self.0.is_unique()
    }

    /// Bytes of UTF-8.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy in memory of its own.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

/// As `str` hashes, so that a map of texts can be asked with a `&str`.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_inside_a_character_is_repaired() {
        let cut = Bytes::from_static(b"lock \xe5\xae");
        assert_eq!(Text::from_utf8_lossy(cut), Text::from("lock \u{fffd}"));
        assert!(Text::new().is_empty());
        assert_eq!(Text::from("键").len(), 3);
    }

    #[test]
    fn valid_text_shares_its_buffer_until_detached() {
        let bytes = Bytes::from_static(b"shared");
        let text = Text::from_utf8_lossy(bytes.clone());
        assert_eq!(text.as_bytes().as_ptr(), bytes.as_ptr());
        assert_ne!(text.detached().as_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(text.detached(), text);
    }
}
