//! The head of an HTTP/1.1 message: where it ends, and what its headers say. Parsed by httparse.

use super::options::WsPeer;

/// Where the head at the front of `bytes` ends, if it does. `scanned` remembers what was looked at before.
pub(super) fn end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, NotHttp> {
    // What was seen may have been cut within the end.
    let from = scanned.saturating_sub(END.len() - 1);
    if bytes[*scanned..].iter().take(SAMPLE).any(|b| is_binary(*b)) {
        return Err(NotHttp);
    }
    *scanned = bytes.len();
    let found = bytes[from..].windows(END.len()).position(|w| w == END);
    Ok(found.map(|at| from + at + END.len()))
}

/// Bytes no head contains.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

/// What is in no head, but in the first bytes of other protocols.
fn is_binary(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\r' | b'\n' | b'\t')
}

/// Parsed headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'a>(pub(super) &'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    /// All values of this name that are text, in order.
    pub(super) fn all(self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |h| h.name.eq_ignore_ascii_case(name));
        named
            .filter_map(|h| std::str::from_utf8(h.value).ok())
            .map(str::trim)
    }

    /// The value of a header that may be there once.
    pub(super) fn one(self, name: &'a str) -> Result<Option<&'a str>, Ambiguous> {
        let mut named = self.0.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        let Some(header) = named.next() else {
            return Ok(None);
        };
        match (std::str::from_utf8(header.value), named.next()) {
            (Ok(value), None) => Ok(Some(value.trim())),
            _ => Err(Ambiguous(header.name.to_owned())),
        }
    }

    /// The elements of a comma-separated list, which may be spread over several headers.
    pub(super) fn list(self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let elements = self.all(name).flat_map(|value| value.split(','));
        elements
            .map(str::trim)
            .filter(|element| !element.is_empty())
    }

    /// Whether a list contains a token, upper or lower case.
    pub(super) fn has(self, name: &'a str, token: &str) -> bool {
        self.list(name)
            .any(|element| element.eq_ignore_ascii_case(token))
    }

    /// Copies that can be kept.
    pub(super) fn to_owned(self) -> Vec<(String, String)> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        self.0
            .iter()
            .map(|h| (h.name.to_owned(), text(h.value)))
            .collect()
    }
}

/// A header, by name, that is there twice or is no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous(pub(super) String);

/// A peer at `target`, path and query in one.
pub(super) fn peer(target: &str, headers: Headers<'_>) -> WsPeer {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    WsPeer {
        path: path.to_owned(),
        query,
        origin: None,
        subprotocol: None,
        headers: headers.to_owned(),
        deflate: false,
    }
}

/// Whether this can be a header's name, or an element of a list.
pub(super) fn is_token(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(legal)
}

/// Whether this can be a header's value.
pub(super) fn is_value(text: &str) -> bool {
    text.bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
}

const END: &[u8] = b"\r\n\r\n";

/// Bytes of each read that are looked at for another protocol's.
const SAMPLE: usize = 64;

/// Most headers.
pub(super) const HEADERS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_it_was_cut() {
        let head = b"GET / HTTP/1.1\r\na: b\r\n\r\n";
        for cut in 0..head.len() {
            let mut scanned = 0;
            assert_eq!(end(&head[..cut], &mut scanned), Ok(None));
            let mut more = head.to_vec();
            more.extend_from_slice(b"rest");
            assert_eq!(
                end(&more, &mut scanned),
                Ok(Some(head.len())),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn other_protocols_are_told_at_once() {
        assert_eq!(end(&[0x16, 3, 1, 2], &mut 0), Err(NotHttp));
    }
}
