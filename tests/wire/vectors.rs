//! Frames written by the codecs of Java Seata 1.2.0 to 2.6.0, with what those codecs read from them.

use bytes::Bytes;
use seamio::proto::version::{ExceptionTable, PeerVersion};
use serde_json::Value;

/// One entry of `vectors.json`.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
    entry: Value,
}

/// Every entry, in the order of the file.
pub(crate) fn all() -> Vec<Vector> {
    let entries: Vec<Value> =
        serde_json::from_str(include_str!("vectors.json")).expect("vectors.json is JSON");
    entries.into_iter().map(Vector::new).collect()
}

impl Vector {
    fn new(entry: Value) -> Self {
        Self {
            name: entry["name"].as_str().expect("a name").to_owned(),
            bytes: unhex(entry["hex"].as_str().expect("bytes")),
            entry,
        }
    }

    /// The exception codes of the release that wrote this.
    pub(crate) fn table(&self) -> ExceptionTable {
        let version = self.name.split_once('@').map_or("", |(_, version)| version);
        PeerVersion::parse(version).exception_table()
    }

    /// The frame version, or None for payloads of gRPC.
    pub(crate) fn protocol_version(&self) -> Option<u64> {
        self.entry["frame"]["protocolVersion"].as_u64()
    }

    pub(crate) fn number(&self, field: &str) -> i64 {
        self.entry["frame"][field].as_i64().expect("a number")
    }

    pub(crate) fn head_map(&self) -> &Value {
        &self.entry["frame"]["headMap"]
    }

    /// Whether Java failed to write this message and sent a head with length zero.
    pub(crate) fn is_broken_head(&self) -> bool {
        self.entry["invalidFrame"] == true
    }

    /// What a reader should find: what Java found, unless the entry shows a quirk of Java's reader.
    pub(crate) fn fields(&self) -> &Value {
        let field = match self.entry["javaQuirk"] == true {
            true => "body",
            false => "decodedBody",
        };
        &self.entry[field]
    }
}

fn unhex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}
