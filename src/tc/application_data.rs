//! The one member of a branch's application data that the coordinator reads (coordinator.md 3.2).
//!
//! AT clients send a JSON object. `"autoCommit": false` says that the client holds a local transaction open while it
//! waits for a row lock. Everything else is opaque, and what cannot be read means the default.

/// Whether the client waits without a local transaction of its own. True unless the data is a JSON object whose member
/// `autoCommit` is `false`; of several the last counts.
pub(super) fn auto_commit(data: &str) -> bool {
    let mut reader = Reader {
        rest: data.as_bytes(),
    };
    reader
        .object_member(b"autoCommit")
        .flatten()
        .unwrap_or(true)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads a whole object. None when it is not well formed; else the boolean that `name` has, if it has one.
    fn object_member(&mut self, name: &[u8]) -> Option<Option<bool>> {
        let mut found = None;
        self.expect(b'{')?;
        if self.take(b'}') {
            return self.end().then_some(found);
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            let value = self.value(0)?;
            if key == name {
                found = match value {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    _ => None,
                };
            }
            if self.take(b'}') {
                return self.end().then_some(found);
            }
            self.expect(b',')?;
        }
    }

    /// Steps over a value and gives its bytes.
    fn value(&mut self, depth: usize) -> Option<&'a [u8]> {
        self.blanks();
        let before = self.rest;
        match before.first()? {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' if depth == DEPTH_MAX => return None,
            b'{' => self.members(b'}', depth)?,
            b'[' => self.members(b']', depth)?,
            _ => {
                let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
                let end = before.iter().position(|b| !plain(b));
                let (word, rest) = before.split_at(end.unwrap_or(before.len()));
                let number = matches!(word.first()?, b'-' | b'0'..=b'9');
                if !number && !matches!(word, b"true" | b"false" | b"null") {
                    return None;
                }
                self.rest = rest;
            }
        }
        Some(&before[..before.len() - self.rest.len()])
    }

    /// Steps over an inner object or array.
    fn members(&mut self, close: u8, depth: usize) -> Option<()> {
        self.rest = &self.rest[1..];
        if self.take(close) {
            return Some(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.expect(b':')?;
            }
            self.value(depth + 1)?;
            if self.take(close) {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    /// Steps over a string and gives what is between its quotes, escapes and all.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.rest;
        loop {
            let end = self.rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            if self.rest[end] == b'"' {
                self.rest = &self.rest[end + 1..];
                return Some(&start[..start.len() - self.rest.len() - 1]);
            }
            self.rest = self.rest.get(end + 2..)?;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn end(&mut self) -> bool {
        self.blanks();
        self.rest.is_empty()
    }
}

/// Deeper data is taken for unreadable.
const DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::auto_commit;

    #[test]
    fn only_a_well_formed_false_counts() {
        for data in [
            r#"{"autoCommit":false}"#,
            r#" { "a" : [1, {"b":"}"}], "autoCommit" : false , "x":null } "#,
            r#"{"autoCommit":true,"autoCommit":false}"#,
            r#"{"q":"\"autoCommit\":true","autoCommit":false,"skipCheckLock":true}"#,
        ] {
            assert!(!auto_commit(data), "{data}");
        }
        for data in [
            "",
            "{}",
            "null",
            "autoCommit:false",
            r#"{"autoCommit":true}"#,
            r#"{"autoCommit":"false"}"#,
            r#"{"autoCommit":0}"#,
            r#"{"x":{"autoCommit":false}}"#,
            r#"{"x":"\"autoCommit\":false"}"#,
            r#"{"autoCommit":false"#,
            r#"{"autoCommit":false}x"#,
            r#"{"autoCommit":false,}"#,
            r#"{"a":falsely,"autoCommit":false}"#,
            r#"{"a":"\"#,
            "{\"autoCommit\":",
        ] {
            assert!(auto_commit(data), "{data}");
        }
        let deep = format!(
            r#"{{"a":{}{},"autoCommit":false}}"#,
            "[".repeat(9000),
            "]".repeat(9000)
        );
        assert!(auto_commit(&deep));
    }
}
