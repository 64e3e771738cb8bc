//! What the fuzzer runs, as plain functions: each takes any bytes and panics when a promise is broken.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz frame` lets libFuzzer look for such bytes; `tests/fuzz_smoke.rs` runs
//! the same functions on damaged real frames in every test run, with stable Rust.

use bytes::{Bytes, BytesMut};
#[cfg(feature = "sql")]
use seamio::client::at::{image, java, undo_log, zone};
use seamio::proto::EncodeError;
use seamio::proto::codec::{COMPRESSOR_NONE, Rpc, SERIALIZER_SEATA, decode_message, encode_rpc};
use seamio::proto::frame::{
    FRAME_BYTES_MAX, Frame, FrameHead, FrameLength, HEAD_BYTES, MessageKind, decode_frame,
    encode_frame, peek_frame,
};
use seamio::proto::message::Message;
use seamio::proto::version::ExceptionTable;
use seamio::tc::store::journal::{read_records, read_segment, read_snapshot};

/// The bytes of a connection: frames until they end or are none. The verdict must not depend on how the bytes are
/// split, and a frame that was read must be written back as it came.
pub fn frame(data: &[u8]) {
    let mut rest = Bytes::copy_from_slice(data);
    loop {
        let verdict = peek_frame(&rest, FRAME_BYTES_MAX);
        for end in 0..rest.len().min(HEAD_BYTES + 1) {
            match peek_frame(&rest[..end], FRAME_BYTES_MAX) {
                Ok(FrameLength::Need(need)) => assert!(need > end && need <= FRAME_BYTES_MAX),
                Ok(FrameLength::Complete(length)) => {
                    assert!(length <= end);
                    assert_eq!(verdict, Ok(FrameLength::Complete(length)));
                }
                Err(error) => assert_eq!(verdict, Err(error)),
            }
        }
        let Ok(FrameLength::Complete(length)) = verdict else {
            return;
        };
        assert!((HEAD_BYTES..=rest.len()).contains(&length));
        let bytes = rest.split_to(length);
        // The head map is all that can still be wrong.
        let Ok(read) = decode_frame(bytes.clone()) else {
            continue;
        };
        assert!(read.head.head_map.iter().count() <= length / 4);
        let mut written = BytesMut::new();
        encode_frame(&read.head, &mut written, |out| {
            out.extend_from_slice(&read.body);
            Ok(())
        })
        .expect("it was a frame");
        if !read.head.kind.is_heartbeat() {
            assert_eq!(written[3..], bytes[3..]);
        }
        for table in ExceptionTable::ALL {
            let _ = decode_message(&read, table);
        }
    }
}

/// A table of exception codes and a body of the SEATA serializer. What is read once must be the same when it is written
/// and read again; the first writing may repair what the peer did wrong.
pub fn seata_body(data: &[u8]) {
    let Some((table, body)) = data.split_first() else {
        return;
    };
    let table = ExceptionTable::ALL[usize::from(*table) % ExceptionTable::ALL.len()];
    let Some(read) = read(Bytes::copy_from_slice(body), table) else {
        return;
    };
    let Some(repaired) = written(read, table) else {
        return;
    };
    let first = decode_frame(repaired).expect("a frame was written");
    let first = decode_message(&first, table).expect("a message was written");
    let again = written(first.clone(), table).expect("it was written before");
    let again = decode_frame(again).expect("a frame was written");
    assert_eq!(decode_message(&again, table), Ok(first));
}

/// A file of a journal. Whatever its bytes, it is read, in part or not at all.
pub fn journal(data: &[u8]) {
    let _ = read_segment(data);
    let _ = read_snapshot(data);
}

/// The records of a journal, without the checksum that keeps damage away from them.
pub fn journal_records(data: &[u8]) {
    let _ = read_records(data);
}

/// A database, a way to bind, and a statement. Whatever the text, it is read or refused; and what is derived from a change of
/// rows is a query, which can be read in its turn.
#[cfg(feature = "sql")]
pub fn statement(data: &[u8]) {
    use seamio::client::at::statement::{
        Dialect, ImageColumns, Parameters, Returning, Statement, TableName,
    };
    let Some((choice, sql)) = data.split_first() else {
        return;
    };
    let dialects = [Dialect::MySql, Dialect::Postgres, Dialect::Sqlite];
    let dialect = dialects[usize::from(*choice) % dialects.len()];
    let parameters = [Parameters::Whole, Parameters::Picked][usize::from(*choice >> 7)];
    let sql = String::from_utf8_lossy(sql);
    let _ = TableName::parse(&sql, dialect);
    let Ok(statement) = Statement::recognise(&sql, dialect) else {
        return;
    };
    let meta = table();
    let columns = ImageColumns::Written;
    let mut queries = Vec::new();
    match &statement {
        Statement::PassThrough | Statement::Savepoint(_) => {}
        Statement::SelectForUpdate(select) => queries.extend(select.keys(&meta, parameters)),
        Statement::Insert(insert) => {
            for returning in [Returning::Supported, Returning::Unsupported] {
                let _ = insert.plan(&meta, returning, columns, parameters);
            }
            queries.extend(insert.counted(&meta, &[0], 1, 1, parameters));
        }
        Statement::Upsert(upsert) => {
            queries.extend(upsert.plan(&meta, parameters).map(|plan| plan.probe));
        }
        Statement::Update(update) => {
            let before = update.before(&meta, columns, parameters);
            queries.extend(before.map(|before| before.query));
        }
        Statement::UpdateJoin(update) => {
            let metas = vec![&meta; statement.tables().len()];
            let before = update.before(&metas, columns, parameters);
            queries.extend(before.into_iter().flatten().map(|image| image.before.query));
        }
        Statement::Delete(delete) => {
            queries.extend(delete.before(&meta, parameters).map(|before| before.query));
        }
    }
    for query in queries {
        match Statement::recognise(&query.sql, dialect) {
            Ok(Statement::PassThrough | Statement::SelectForUpdate(_)) => {}
            // A join, say, is not read again as a query that locks rows of one table.
            Err(_) => assert!(query.sql.starts_with("SELECT "), "{sql}: {}", query.sql),
            Ok(other) => panic!("{sql} became {}: {other:?}", query.sql),
        }
    }
}

/// The table that the statements of the corpus are about.
#[cfg(feature = "sql")]
fn table() -> seamio::client::at::meta::TableMeta {
    use seamio::client::at::meta::{
        ColumnMeta, ColumnSource, KeyKind, KeyMeta, Nullability, TableMeta,
    };
    let column = |name: &str, source| ColumnMeta {
        name: name.to_owned(),
        jdbc_type: 4,
        type_name: "int4".to_owned(),
        nullability: Nullability::Nullable,
        default: None,
        source,
    };
    let key = |name: &str, kind, columns: &[usize]| KeyMeta {
        name: name.to_owned(),
        kind,
        columns: columns.to_vec(),
    };
    TableMeta {
        schema: None,
        name: "stock".to_owned(),
        columns: vec![
            column("id", ColumnSource::AutoIncrement),
            column("sku", ColumnSource::Statement),
            column("qty", ColumnSource::Statement),
        ],
        keys: vec![
            key("PRIMARY", KeyKind::Primary, &[0]),
            key("sku", KeyKind::Unique, &[1]),
        ],
    }
}

/// The content of a row of `undo_log`: a dialect and a container in the first byte. What can be read must have the same content when it
/// is written and read again, in our dialect and in Java's; and it takes bounded memory.
#[cfg(feature = "sql")]
pub fn undo_log(data: &[u8]) {
    use undo_log::{Compressor, Context, Error, Format, Serializer, decode, encode};
    let Some((kind, content)) = data.split_first() else {
        return;
    };
    if *kind >= 21 {
        let text = String::from_utf8_lossy(content);
        if let Ok(context) = Context::parse(&text)
            && context.continues.is_none()
        {
            assert_eq!(Context::parse(&context.to_string()), Ok(context));
        }
        return;
    }
    let dialects = [
        Serializer::Jackson,
        Serializer::Fastjson,
        Serializer::Native,
    ];
    let containers = [
        Compressor::None,
        Compressor::Gzip,
        Compressor::Zip,
        Compressor::Bzip2,
        Compressor::Lz4,
        Compressor::Deflater,
        Compressor::Zstd,
    ];
    let context = Context {
        serializer: Some(dialects[usize::from(kind % 3)].to_string()),
        compressor: containers[usize::from(kind / 3)],
        ..Context::default()
    };
    let java = java::Java {
        zone: zone::Zone::fixed(28_800).expect("an offset"),
        ..java::Java::default()
    };
    let format = Format {
        java,
        document_bytes_max: 1 << 20,
        ..Format::default()
    };
    let Ok(log) = decode(&context, content, &format) else {
        return;
    };
    for serializer in [Serializer::Native, Serializer::Jackson] {
        let format = Format {
            serializer,
            ..format.clone()
        };
        let written = match encode(&log, &format, None) {
            Ok(written) => written,
            Err(Error::TooLarge { .. } | Error::TooLongForColumn { column: "xid", .. }) => continue,
            Err(error) => panic!("an undo log that was read cannot be written: {error}"),
        };
        let again = decode(&written.context, &written.content, &format).expect("it was written");
        assert!(same_content(&log, &again), "{log:?}\n{again:?}");
    }
}

/// Classes may differ, such as that of a year, which is a date to Java.
#[cfg(feature = "sql")]
fn same_content(one: &image::BranchUndoLog, other: &image::BranchUndoLog) -> bool {
    let fields = |log: &image::BranchUndoLog| {
        let images = log
            .items
            .iter()
            .flat_map(|item| [&item.before, &item.after]);
        let fields = images
            .flat_map(|image| &image.rows)
            .flat_map(|row| &row.fields);
        fields.cloned().collect::<Vec<_>>()
    };
    let (ours, others) = (fields(one), fields(other));
    one.xid == other.xid
        && ours.len() == others.len()
        && ours
            .iter()
            .zip(&others)
            .all(|(a, b)| a.name == b.name && a.value.same_as(&b.value))
}

fn read(body: Bytes, table: ExceptionTable) -> Option<Message> {
    let head = FrameHead {
        kind: MessageKind::Request,
        serializer: SERIALIZER_SEATA,
        compressor: COMPRESSOR_NONE,
        id: 1,
        head_map: Default::default(),
    };
    decode_message(&Frame { head, body }, table).ok()
}

fn written(message: Message, table: ExceptionTable) -> Option<Bytes> {
    let mut out = BytesMut::new();
    match encode_rpc(&Rpc::request(1, message), table, &mut out) {
        Ok(()) => Some(out.freeze()),
        // Text that was made valid may have grown beyond its length prefix.
        Err(EncodeError::TextTooLong { .. } | EncodeError::FrameTooLong(_)) => {
            assert!(out.is_empty());
            None
        }
        Err(error) => panic!("a message that was read cannot be written: {error}"),
    }
}
