//! The configuration file: TOML, flattened to dotted keys that remember their line.
//!
//! `[server.recovery] committingRetryPeriod = 1000` and `server.recovery.committing-retry-period = "1s"` are one key.
//! Only what TOML calls tables, strings, whole numbers, floats and booleans may stand there.

use toml::de::{DeTable, DeValue};

use super::Error;

/// One entry of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key as it is written, its tables joined by dots.
    pub(super) key: String,
    /// The value as text.
    pub(super) value: String,
    /// Where, counted from 1.
    pub(super) line: usize,
}

/// Reads the entries of a file's text. `path` is only named in errors.
pub(super) fn parse(path: &str, text: &str) -> Result<Vec<Entry>, Error> {
    let table = DeTable::parse(text).map_err(|e| Error {
        place: format!(
            "{path}:{}",
            line(text, e.span().map_or(0, |span| span.start))
        ),
        key: None,
        problem: e.message().to_string(),
    })?;
    let mut entries = Vec::new();
    flatten(path, text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn flatten(
    path: &str,
    text: &str,
    above: &str,
    table: &DeTable<'_>,
    entries: &mut Vec<Entry>,
) -> Result<(), Error> {
    for (key, value) in table {
        let line = line(text, key.span().start);
        let name = key.get_ref();
        let key = if above.is_empty() {
            name.to_string()
        } else {
            format!("{above}.{name}")
        };
        let value = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(path, text, &key, inner, entries)?;
                continue;
            }
            DeValue::String(value) => value.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_string(),
            DeValue::Float(number) => number.as_str().to_string(),
            DeValue::Boolean(value) => value.to_string(),
            other => {
                return Err(Error {
                    place: format!("{path}:{line}"),
                    key: Some(key),
                    problem: format!(
                        "expected a text, a decimal number or true or false, got {}",
                        kind(other)
                    ),
                });
            }
        };
        entries.push(Entry { key, value, line });
    }
    Ok(())
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list (join its items by commas in one text)",
        DeValue::Datetime(_) => "a date",
        _ => "a number that is not decimal",
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_dotted_keys_become_one_list_in_order() {
        let text = "# ours\nserver.host = \"127.0.0.1\"\n\n[store.file]\ndir = 'x'\n\
                    [server.recovery]\ncommittingRetryPeriod = 1000\n\n[transport]\nheartbeat = true\n";
        let entries = parse("f", text).expect("valid");
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e.key.as_str(), e.value.as_str(), e.line))
            .collect();
        assert_eq!(
            seen,
            [
                ("server.host", "127.0.0.1", 2),
                ("store.file.dir", "x", 5),
                ("server.recovery.committingRetryPeriod", "1000", 7),
                ("transport.heartbeat", "true", 10),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = parse("f.toml", "a = 1\nb = [1]\n").expect_err("a list");
        assert_eq!(error.place, "f.toml:2");
        assert_eq!(error.key.as_deref(), Some("b"));
        let error = parse("f.toml", "a = 1\nb = \n").expect_err("no value");
        assert_eq!(error.place, "f.toml:2");
        assert!(
            parse("f.toml", "a = 1\n[t]\nb = 1\nb = 2\n").is_err_and(|e| e.place == "f.toml:4")
        );
    }
}
