//! What real Java clients wrote, with the rows they wrote it for (client.md 13.1).
//!
//! `vectors.json.zst` is made from the recorded file by `select`, which keeps every case with an undo log or a lock key and drops what no
//! test reads. `SEAMIO_VECTORS` names the folder of the recorded file itself, which is read instead then.

use std::path::{Path, PathBuf};

use seamio::client::at::image::BranchUndoLog;
use seamio::client::at::java::{ArrayForm, DateTimeClass, Java, Package, TimestampForm};
use seamio::client::at::undo_log::{Context, Error, Format, decode};
use seamio::client::at::zone::Zone;
use serde_json::Value as Json;

/// One executed case.
pub(crate) struct Case {
    pub(crate) json: Json,
}

/// The cases that are kept here.
pub(crate) fn kept() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/undo_log/vectors.json.zst");
    let compressed = std::fs::read(path).expect("the kept cases");
    let text = zstd::stream::decode_all(compressed.as_slice()).expect("a Zstandard frame");
    cases(&text)
}

/// All recorded cases, where the environment says where they are.
pub(crate) fn recorded() -> Option<Vec<Case>> {
    let folder = PathBuf::from(std::env::var_os("SEAMIO_VECTORS")?);
    let path = folder.join("undo_log.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(cases(&text))
}

fn cases(text: &[u8]) -> Vec<Case> {
    let all: Vec<Json> = serde_json::from_slice(text).expect("an array of cases");
    let cases = all.into_iter().filter(|case| case["name"] != "_about");
    cases.map(|json| Case { json }).collect()
}

impl Case {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_default()
    }

    /// What tells it from all others.
    pub(crate) fn label(&self) -> String {
        let parts = ["name", "source", "db", "driver", "config"].map(|part| self.text(part));
        parts.join(" | ")
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.text("db").starts_with("PostgreSQL")
    }

    /// The zone of the client that wrote it, and of the database's session; None where this system does not know it.
    pub(crate) fn zone(&self) -> Option<Zone> {
        self.text("jvm_time_zone").parse().ok()
    }

    /// Its offset in the years of the `TIMESTAMP` columns.
    pub(crate) fn offset_s(&self) -> i64 {
        if self.text("jvm_time_zone") == "UTC" {
            0
        } else {
            28_800
        }
    }

    /// Like the Java client that wrote it.
    pub(crate) fn format(&self) -> Option<Format> {
        let source = self.text("source");
        let java = Java {
            package: if source.ends_with("2.2.0") {
                Package::OrgApacheSeata
            } else {
                Package::IoSeata
            },
            zone: self.zone()?,
            date_time: if self.text("driver") == "mysql-connector-j-8.0.33" {
                DateTimeClass::LocalDateTime
            } else {
                DateTimeClass::Timestamp
            },
            timestamps: if source.ends_with("1.4.2") {
                TimestampForm::Pair
            } else {
                TimestampForm::Shortest
            },
            arrays: ArrayForm::Bean,
        };
        Some(Format {
            java,
            compress_above_bytes: usize::MAX,
            ..Format::default()
        })
    }

    /// The undo logs of its branches.
    pub(crate) fn undo_logs(&self) -> Vec<UndoLog> {
        let more = self.json["more_branches"].as_array();
        let more = more.into_iter().flatten().map(|branch| &branch["undo"]);
        let all = std::iter::once(&self.json["undo"]).chain(more);
        all.filter(|undo| undo.is_object())
            .map(UndoLog::of)
            .collect()
    }
}

/// A row of `undo_log`.
pub(crate) struct UndoLog {
    pub(crate) context: String,
    pub(crate) content: Vec<u8>,
    pub(crate) xid: String,
    pub(crate) branch_id: i64,
    /// 1 where it only says that its transaction is over.
    pub(crate) log_status: i64,
}

impl UndoLog {
    fn of(json: &Json) -> UndoLog {
        let content = match json["rollback_info_hex"].as_str() {
            Some(hex) => bytes(hex).expect("hexadecimal digits"),
            None => json["rollback_info_text"]
                .as_str()
                .expect("content")
                .as_bytes()
                .to_vec(),
        };
        UndoLog {
            context: json["context"].as_str().expect("a context").to_owned(),
            content,
            xid: json["xid"].as_str().expect("an xid").to_owned(),
            branch_id: json["branch_id"].as_i64().expect("a branch id"),
            log_status: json["log_status"].as_i64().expect("a status"),
        }
    }

    pub(crate) fn decoded(&self, format: &Format) -> Result<BranchUndoLog, Error> {
        decode(&Context::parse(&self.context)?, &self.content, format)
    }
}

/// The bytes of hexadecimal digits; None where there are others, as in values that were recorded in part.
pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| Some((byte as char).to_digit(16)? as u8);
    let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}
