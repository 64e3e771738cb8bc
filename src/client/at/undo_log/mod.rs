//! The content of `undo_log` rows: documents, their compression, and the columns that say how to read them.
//!
//! | module | what lives there |
//! |---|---|
//! | [`context`] | the column `context` |
//! | [`pieces`] | content beyond a packet of MySQL |
//! | `compression` | the containers of the Java clients |
//! | `jackson` | their documents, and those of fastjson |
//! | `native` | our own documents |
//!
//! Writing goes through [`encode`] and [`pieces::split`], reading through [`Context::parse`], [`pieces::join`] and [`decode`]. Content
//! comes from a table that others write to: whatever its bytes, reading ends with a document or an [`Error`], in bounded memory.
//!
//! # Values that Java holds in part, or not at all
//!
//! A fraction of a `time`, the offset of a `timetz`, a `tinyint(1)` that is neither 0 nor 1, a local time that clocks skip: Java's form of
//! the value stands in the member `value`, where a Java client finds it, and the whole of it in a member `exact` beside it, which Java
//! clients skip and we prefer. So we undo exactly what a Java client would undo in part, or call dirty.
//!
//! What Java cannot hold at all, such as MySQL's `0000-00-00` and times beyond a day, is written as an object of the class
//! `seamio.Exact`. No Java client has it, so none can read such an undo log, and none can undo it wrongly.
//!
//! Follows client.md 4 and 13.5.

mod compression;
pub mod context;
mod jackson;
mod native;
pub mod pieces;

use std::fmt;
use std::str::FromStr;

pub use context::{Compressor, Context};

use super::image::BranchUndoLog;
use super::java::Java;

/// How undo logs are written, and what is needed to read those of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The dialect we write.
    pub serializer: Serializer,
    /// What the Java clients of the resource are like. The dialect [`Serializer::Native`] needs none of it.
    pub java: Java,
    /// What content beyond the threshold is compressed with.
    pub compressor: Compressor,
    /// Content of at most so many bytes is not compressed.
    pub compress_above_bytes: usize,
    /// Bytes that a document may have, written or read, not compressed.
    pub document_bytes_max: usize,
}

/// As a Java client of version 2 does it: `jackson`, zip above 64 KiB. Documents have at most [`DOCUMENT_BYTES_MAX`].
impl Default for Format {
    fn default() -> Format {
        Format {
            serializer: Serializer::Jackson,
            java: Java::default(),
            compressor: Compressor::Zip,
            compress_above_bytes: 64 << 10,
            document_bytes_max: DOCUMENT_BYTES_MAX,
        }
    }
}

/// The default of [`Format::document_bytes_max`]: 256 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 20;

/// The dialect of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// That of the Java clients, which can undo what we write and the other way round.
    Jackson,
    /// That of Java clients with `client.undo.logSerialization=fastjson`. Read, never written.
    Fastjson,
    /// Our own, for resources that no Java client has.
    Native,
}

/// As the column `context` names it.
impl fmt::Display for Serializer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Serializer::Jackson => "jackson",
            Serializer::Fastjson => "fastjson",
            Serializer::Native => "seamio-json",
        })
    }
}

impl FromStr for Serializer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "jackson" => Ok(Serializer::Jackson),
            "fastjson" => Ok(Serializer::Fastjson),
            "seamio-json" => Ok(Serializer::Native),
            _ => Err(Error::UnknownSerializer {
                name: text.to_owned(),
            }),
        }
    }
}

/// What goes into a row: the columns `context` and `rollback_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// How to read the content.
    pub context: Context,
    /// The document, compressed where the context says so.
    pub content: Vec<u8>,
}

/// Writes an undo log. `max_allowed_packet` is MySQL's, where it is known; Java notes it in the context.
///
/// Fails when the xid does not fit its column, the document is beyond its limit, or the format's serializer is
/// [`Serializer::Fastjson`].
pub fn encode(
    log: &BranchUndoLog,
    format: &Format,
    max_allowed_packet: Option<u64>,
) -> Result<Encoded, Error> {
    let characters = log.xid.chars().count();
    if characters > context::COLUMN_CHARACTERS_MAX {
        return Err(Error::TooLongForColumn {
            column: "xid",
            characters,
            why: "a coordinator with a shorter address gives shorter ones",
        });
    }
    let document = match format.serializer {
        Serializer::Jackson => jackson::write(log, &format.java),
        Serializer::Native => native::write(log),
        Serializer::Fastjson => return Err(Error::ReadOnly(Serializer::Fastjson)),
    };
    if document.len() > format.document_bytes_max {
        return Err(Error::TooLarge {
            bytes_max: format.document_bytes_max,
        });
    }
    let document = document.into_bytes();
    let (compressor, content) = if document.len() > format.compress_above_bytes {
        (
            format.compressor,
            compression::compress(document, format.compressor)?,
        )
    } else {
        (Compressor::None, document)
    };
    Ok(Encoded {
        context: Context {
            serializer: Some(format.serializer.to_string()),
            compressor,
            max_allowed_packet,
            ..Context::default()
        },
        content,
    })
}

/// The columns of a row that only says that its transaction is over (`log_status` 1): a branch that comes too late meets it and fails.
pub fn finished(format: &Format) -> Encoded {
    Encoded {
        context: Context {
            serializer: Some(format.serializer.to_string()),
            ..Context::default()
        },
        content: b"{}".to_vec(),
    }
}

/// Reads an undo log, of ours or of another client. A context without a serializer means that of the format.
pub fn decode(context: &Context, content: &[u8], format: &Format) -> Result<BranchUndoLog, Error> {
    let serializer = match &context.serializer {
        Some(name) => name.parse()?,
        None => format.serializer,
    };
    let document = compression::decompress(content, context.compressor, format.document_bytes_max)?;
    let text = std::str::from_utf8(&document).map_err(|error| Error::Malformed {
        serializer,
        fault: format!("byte {}: not UTF-8", error.valid_up_to()),
    })?;
    let log = match serializer {
        Serializer::Jackson => jackson::read(text, &format.java),
        Serializer::Fastjson => jackson::read_fastjson(text, &format.java),
        Serializer::Native => native::read(text),
    };
    log.map_err(|fault| Error::Malformed {
        serializer,
        fault: fault.to_string(),
    })
}

/// Why an undo log cannot be written or read. Trying again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The row is in a dialect that only another client reads.
    UnknownSerializer {
        /// Its name.
        name: String,
    },
    /// The row is compressed with something that only another client reads.
    UnknownCompressor {
        /// Its name.
        name: String,
    },
    /// The dialect is read, never written.
    ReadOnly(Serializer),
    /// The document is not what its dialect says.
    Malformed {
        /// The dialect.
        serializer: Serializer,
        /// Where it is wrong, and how.
        fault: String,
    },
    /// The content cannot be decompressed, or not compressed.
    Compression {
        /// What with.
        compressor: Compressor,
        /// What is wrong.
        what: String,
    },
    /// The document is larger than the format allows.
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// A text is too long for its column.
    TooLongForColumn {
        /// The column.
        column: &'static str,
        /// Characters of the text.
        characters: usize,
        /// What it comes from.
        why: &'static str,
    },
    /// Content in several rows cannot be cut or put together.
    Continuation {
        /// What is wrong.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownSerializer { name } => write!(
                f,
                "undo log in the dialect {name:?}, which only the client that wrote it can read; roll the branch back with that client, and set client.undo.logSerialization of all clients of the resource to jackson"
            ),
            Error::UnknownCompressor { name } => write!(
                f,
                "undo log compressed with {name:?}, which only the client that wrote it can read; roll the branch back with that client, and set client.undo.compress.type of all clients of the resource to zip"
            ),
            Error::ReadOnly(serializer) => {
                write!(
                    f,
                    "undo logs in the dialect {serializer} are read only; write jackson or seamio-json"
                )
            }
            Error::Malformed { serializer, fault } => {
                write!(
                    f,
                    "the undo log is no document of the dialect {serializer}: {fault}"
                )
            }
            Error::Compression { compressor, what } => {
                write!(f, "undo log in {compressor}: {what}")
            }
            Error::TooLarge { bytes_max } => {
                write!(
                    f,
                    "the undo log has more than {bytes_max} bytes; change fewer rows in one branch, or raise the limit"
                )
            }
            Error::TooLongForColumn {
                column,
                characters,
                why,
            } => write!(
                f,
                "{characters} characters for the column {column} of undo_log, which holds {}: {why}",
                context::COLUMN_CHARACTERS_MAX
            ),
            Error::Continuation { what } => write!(f, "undo log in several rows: {what}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
