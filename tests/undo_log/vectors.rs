//! What real Java clients wrote, with the rows they wrote it for (client.md 13.1).
//!
//! `vectors.json.zst` is made from the recorded file by `select`, which keeps every case with an undo log or a lock key and drops what no
//! test reads. `SEAMIO_VECTORS` names the folder of the recorded file itself, which is read instead then.

use std::path::{Path, PathBuf};

use seamio::client::at::image::BranchUndoLog;
use seamio::client::at::java::{DateTimeClass, Java, Package, TimestampForm};
use seamio::client::at::undo_log::{Context, Error, Format, decode};
use seamio::client::at::zone::Zone;
use serde_json::Value as Json;

/// One executed case.
pub struct Case {
    pub json: Json,
}

/// The cases that are kept here.
pub fn kept() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/undo_log/vectors.json.zst");
    let compressed = std::fs::read(path).expect("the kept cases");
    let text = zstd::stream::decode_all(compressed.as_slice()).expect("a Zstandard frame");
    cases(&text)
}

/// All recorded cases, where the environment says where they are.
pub fn recorded() -> Option<Vec<Case>> {
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
    pub fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_default()
    }

    /// What tells it from all others.
    pub fn label(&self) -> String {
        let parts = ["name", "source", "db", "driver", "config"].map(|part| self.text(part));
        parts.join(" | ")
    }

    pub fn is_postgres(&self) -> bool {
        self.text("db").starts_with("PostgreSQL")
    }

    /// The Java client that wrote it; all ran in the same zone.
    pub fn java(&self, zone: &Zone) -> Java {
        let source = self.text("source");
        // The clients of version 1 write a class of the driver that they cannot read.
        let local = ["mysql-connector-j-8.0.33"].contains(&self.text("driver"));
        Java {
            package: if source.ends_with("2.2.0") {
                Package::OrgApacheSeata
            } else {
                Package::IoSeata
            },
            zone: zone.clone(),
            date_time: if local {
                DateTimeClass::LocalDateTime
            } else {
                DateTimeClass::Timestamp
            },
            timestamps: if source.ends_with("1.4.2") {
                TimestampForm::Pair
            } else {
                TimestampForm::Shortest
            },
        }
    }

    pub fn format(&self, zone: &Zone) -> Format {
        Format {
            java: self.java(zone),
            ..Format::default()
        }
    }

    /// The undo logs of its branches.
    pub fn undo_logs(&self) -> Vec<UndoLog> {
        let more = self.json["more_branches"].as_array();
        let more = more.into_iter().flatten().map(|branch| &branch["undo"]);
        let all = std::iter::once(&self.json["undo"]).chain(more);
        all.filter(|undo| undo.is_object())
            .map(UndoLog::of)
            .collect()
    }
}

/// A row of `undo_log`.
pub struct UndoLog {
    pub context: String,
    pub content: Vec<u8>,
    pub xid: String,
    pub branch_id: i64,
}

impl UndoLog {
    fn of(json: &Json) -> UndoLog {
        let content = match json["rollback_info_hex"].as_str() {
            Some(hex) => bytes(hex),
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
        }
    }

    pub fn decoded(&self, format: &Format) -> Result<BranchUndoLog, Error> {
        decode(&Context::parse(&self.context)?, &self.content, format)
    }
}

/// The zone in which all clients ran.
pub fn shanghai() -> Option<Zone> {
    Zone::named("Asia/Shanghai").ok()
}

pub fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
    hex.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
