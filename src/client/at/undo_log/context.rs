//! The column `context`: how the content of a row is to be read (client.md 4.2).

use std::fmt;
use std::str::FromStr;

use super::Error;

/// The column `context` of a row of `undo_log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The dialect of the content; absent in rows of other clients, which mean that of their configuration then.
    pub serializer: Option<String>,
    /// What the content is compressed with.
    pub compressor: Compressor,
    /// MySQL's `max_allowed_packet` when the row was written.
    pub max_allowed_packet: Option<u64>,
    /// The branch ids of the rows that continue the content, in its order.
    pub continued_by: Vec<i64>,
    /// On a row that continues another: the branch id of the latter.
    pub continues: Option<i64>,
}

impl Context {
    /// Reads the column. Unknown keys, pairs without exactly one `=`, and numbers that are none are skipped, as Java does; a
    /// compressor that is not known is an error, since nothing could be read without it.
    pub fn parse(text: &str) -> Result<Context, Error> {
        let mut context = Context::default();
        for pair in text.split('&') {
            let Some((key, value)) = pair
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
            else {
                continue;
            };
            match key {
                "serializer" if !value.is_empty() => context.serializer = Some(value.to_owned()),
                "compressorType" if !value.is_empty() => context.compressor = value.parse()?,
                "map" => context.max_allowed_packet = value.parse().ok(),
                "subId" => {
                    let ids = value.split(',').filter(|id| !id.is_empty());
                    // An id that is none would leave a hole in the content.
                    let ids: Option<Vec<i64>> = ids.map(|id| id.parse().ok()).collect();
                    context.continued_by = ids.ok_or_else(|| Error::Continuation {
                        what: format!("the list of continuation rows is {value:?}"),
                    })?;
                }
                "branchId" => context.continues = value.parse().ok(),
                _ => {}
            }
        }
        Ok(context)
    }

    /// The column, checked for its length.
    pub fn to_column(&self) -> Result<String, Error> {
        let text = self.to_string();
        if text.len() > COLUMN_CHARACTERS_MAX {
            return Err(Error::TooLongForColumn {
                column: "context",
                characters: text.len(),
                why: "so many continuation rows do not fit; larger packets (MySQL's max_allowed_packet) or fewer rows per branch do",
            });
        }
        Ok(text)
    }
}

/// In the order in which Java writes.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(owner) = self.continues {
            return write!(f, "branchId={owner}");
        }
        if let Some(serializer) = &self.serializer {
            write!(f, "serializer={serializer}&")?;
        }
        write!(f, "compressorType={}", self.compressor)?;
        if let Some(bytes) = self.max_allowed_packet {
            write!(f, "&map={bytes}")?;
        }
        if !self.continued_by.is_empty() {
            f.write_str("&subId=")?;
            self.continued_by
                .iter()
                .try_for_each(|id| write!(f, "{id},"))?;
        }
        Ok(())
    }
}

/// What content is compressed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compressor {
    /// Nothing.
    #[default]
    None,
    /// A gzip stream.
    Gzip,
    /// A zip archive with one entry.
    Zip,
    /// A bzip2 stream without its first two bytes.
    Bzip2,
    /// The block stream of lz4-java.
    Lz4,
    /// A zlib stream.
    Deflater,
    /// A Zstandard frame.
    Zstd,
}

/// As the column `context` has it.
impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compressor::None => "NONE",
            Compressor::Gzip => "GZIP",
            Compressor::Zip => "ZIP",
            Compressor::Bzip2 => "BZIP2",
            Compressor::Lz4 => "LZ4",
            Compressor::Deflater => "DEFLATER",
            Compressor::Zstd => "ZSTD",
        })
    }
}

/// Reads the name, whatever its case.
impl FromStr for Compressor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().as_str() {
            "NONE" => Ok(Compressor::None),
            "GZIP" => Ok(Compressor::Gzip),
            "ZIP" => Ok(Compressor::Zip),
            "BZIP2" => Ok(Compressor::Bzip2),
            "LZ4" => Ok(Compressor::Lz4),
            "DEFLATER" => Ok(Compressor::Deflater),
            "ZSTD" => Ok(Compressor::Zstd),
            _ => Err(Error::UnknownCompressor {
                name: text.to_owned(),
            }),
        }
    }
}

/// Characters that the columns `context` and `xid` hold.
pub(super) const COLUMN_CHARACTERS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_java_are_read_and_written() {
        for (text, serializer, compressor, map) in [
            (
                "serializer=jackson&compressorType=NONE",
                "jackson",
                Compressor::None,
                None,
            ),
            (
                "serializer=jackson&compressorType=ZIP&map=16777216",
                "jackson",
                Compressor::Zip,
                Some(16_777_216),
            ),
            (
                "serializer=seamio-json&compressorType=ZSTD",
                "seamio-json",
                Compressor::Zstd,
                None,
            ),
        ] {
            let context = Context::parse(text).expect("a context");
            assert_eq!(context.serializer.as_deref(), Some(serializer));
            assert_eq!(context.compressor, compressor);
            assert_eq!(context.max_allowed_packet, map);
            assert_eq!(context.to_column().as_deref(), Ok(text));
        }
        let owner = "serializer=jackson&compressorType=NONE&map=1048576&subId=11,12,";
        let context = Context::parse(owner).expect("a context");
        assert_eq!(context.continued_by, [11, 12]);
        assert_eq!(context.to_string(), owner);
        let continuation = Context::parse("branchId=10").expect("a context");
        assert_eq!(continuation.continues, Some(10));
        assert_eq!(continuation.to_string(), "branchId=10");
    }

    #[test]
    fn strange_contexts_are_read_as_far_as_they_say_anything() {
        for text in [
            "",
            "&&",
            "=",
            "a=b",
            "serializer",
            "serializer=a=b",
            "serializer=",
            "map=",
            "map=x",
            "serializerKey=json&compressorTypeKey=None",
            "branchId=",
        ] {
            assert_eq!(Context::parse(text), Ok(Context::default()), "{text}");
        }
        let error =
            Context::parse("serializer=jackson&compressorType=SEVENZ").expect_err("not supported");
        assert_eq!(
            error,
            Error::UnknownCompressor {
                name: "SEVENZ".into()
            }
        );
        assert!(Context::parse("subId=1,x,").is_err());
    }

    #[test]
    fn the_column_has_room_for_three_continuation_rows() {
        let mut context = Context {
            serializer: Some("jackson".into()),
            max_allowed_packet: Some(16_777_216),
            continued_by: vec![1_000_000_000_000_000_000; 3],
            ..Context::default()
        };
        assert!(context.to_column().is_ok());
        context.continued_by.push(1_000_000_000_000_000_000);
        let error = context.to_column().expect_err("too long").to_string();
        assert!(error.contains("max_allowed_packet"), "{error}");
    }
}
