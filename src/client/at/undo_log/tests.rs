//! Documents as a whole: what Java reads of ours, what we read of Java's, and what is refused.
//!
//! Documents of real Java clients are in `tests/undo_log`.

use super::*;
use crate::client::at::image::{Field, FieldKey, Image, Row, SqlType, UndoItem};
use crate::client::at::java::{ArrayForm, DateTimeClass, Package, TimestampForm};
use crate::client::at::value::{Array, Date, DateTime, Interval, Other, PgObject, Time, Value};
use crate::client::at::zone::Zone;

fn field(name: &str, key: FieldKey, jdbc_type: i32, value: Value) -> Field {
    Field {
        name: name.into(),
        key,
        jdbc_type,
        value,
    }
}

fn stock(quantity: i32) -> Image {
    Image {
        table_name: "stock".into(),
        rows: vec![Row {
            fields: vec![
                field("id", FieldKey::Primary, -5, Value::BigInt(7)),
                field("qty", FieldKey::None, 4, Value::Int(quantity)),
            ],
        }],
    }
}

fn log(sql_type: SqlType, before: Image, after: Image) -> BranchUndoLog {
    BranchUndoLog {
        xid: "10.0.0.1:8091:45".into(),
        branch_id: 46,
        items: vec![UndoItem {
            sql_type,
            table_name: "stock".into(),
            before,
            after,
        }],
    }
}

/// A log whose only value is this one.
fn log_of(jdbc_type: i32, value: Value) -> BranchUndoLog {
    let mut image = stock(0);
    image.rows[0].fields = vec![field("c", FieldKey::None, jdbc_type, value)];
    log(SqlType::Delete, image, Image::empty("stock"))
}

fn value_of(log: &BranchUndoLog) -> Value {
    log.items[0].before.rows[0].fields[0].value.clone()
}

fn east() -> Format {
    Format {
        java: Java {
            zone: Zone::fixed(28_800).expect("an offset"),
            ..Java::default()
        },
        ..Format::default()
    }
}

fn document(log: &BranchUndoLog, format: &Format) -> String {
    let encoded = encode(log, format, None).expect("writes");
    assert_eq!(
        decode(&encoded.context, &encoded.content, format).as_ref(),
        Ok(log)
    );
    String::from_utf8(encoded.content).expect("UTF-8")
}

/// What stands for a value in Java's document, with what stands beside it.
fn written(jdbc_type: i32, value: Value, format: &Format) -> String {
    let encoded = encode(&log_of(jdbc_type, value.clone()), format, None).expect("writes");
    let read = decode(&encoded.context, &encoded.content, format).expect("reads");
    assert!(
        value_of(&read).same_as(&value),
        "{value:?} became {:?}",
        value_of(&read)
    );
    let text = String::from_utf8(encoded.content).expect("UTF-8");
    let start = text.find("\"value\":").expect("a value") + 8;
    let end = text
        .find("}]]}]]},\"afterImage\"")
        .expect("the end of the image");
    text[start..end].to_owned()
}

fn read(text: &str) -> Result<BranchUndoLog, String> {
    let context = Context::parse("serializer=jackson&compressorType=NONE").expect("a context");
    decode(&context, text.as_bytes(), &east()).map_err(|error| error.to_string())
}

#[test]
fn a_document_is_that_of_java() {
    let update = log(SqlType::Update, stock(10), stock(11));
    let expected = r#"{"@class":"org.apache.seata.rm.datasource.undo.BranchUndoLog","xid":"10.0.0.1:8091:45","branchId":46,"sqlUndoLogs":["java.util.ArrayList",[{"@class":"org.apache.seata.rm.datasource.undo.SQLUndoLog","sqlType":"UPDATE","tableName":"stock","beforeImage":{"@class":"org.apache.seata.rm.datasource.sql.struct.TableRecords","tableName":"stock","rows":["java.util.ArrayList",[{"@class":"org.apache.seata.rm.datasource.sql.struct.Row","fields":["java.util.ArrayList",[{"@class":"org.apache.seata.rm.datasource.sql.struct.Field","name":"id","keyType":"PRIMARY_KEY","type":-5,"value":["java.lang.Long",7]},{"@class":"org.apache.seata.rm.datasource.sql.struct.Field","name":"qty","keyType":"NULL","type":4,"value":10}]]}]]},"afterImage":{"@class":"org.apache.seata.rm.datasource.sql.struct.TableRecords","tableName":"stock","rows":["java.util.ArrayList",[{"@class":"org.apache.seata.rm.datasource.sql.struct.Row","fields":["java.util.ArrayList",[{"@class":"org.apache.seata.rm.datasource.sql.struct.Field","name":"id","keyType":"PRIMARY_KEY","type":-5,"value":["java.lang.Long",7]},{"@class":"org.apache.seata.rm.datasource.sql.struct.Field","name":"qty","keyType":"NULL","type":4,"value":11}]]}]]}}]]}"#;
    let mut format = Format::default();
    assert_eq!(document(&update, &format), expected);
    format.java.package = Package::IoSeata;
    assert_eq!(
        document(&update, &format),
        expected.replace("org.apache.seata", "io.seata")
    );
    let insert = log(SqlType::Insert, Image::empty("stock"), stock(1));
    let empty = r#""beforeImage":{"@class":"io.seata.rm.datasource.sql.struct.TableRecords$EmptyTableRecords","tableName":"stock","rows":["java.util.ArrayList",[]]}"#;
    assert!(document(&insert, &format).contains(empty));
}

#[test]
fn our_own_document() {
    let format = Format {
        serializer: Serializer::Native,
        ..Format::default()
    };
    let update = log(SqlType::Update, stock(10), stock(11));
    assert_eq!(
        document(&update, &format),
        r#"{"xid":"10.0.0.1:8091:45","branch_id":"46","items":[{"sql_type":"UPDATE","table":"stock","before":{"table":"stock","rows":[[{"name":"id","key":true,"type":-5,"value":{"t":"i64","v":"7"}},{"name":"qty","type":4,"value":{"t":"i32","v":"10"}}]]},"after":{"table":"stock","rows":[[{"name":"id","key":true,"type":-5,"value":{"t":"i64","v":"7"}},{"name":"qty","type":4,"value":{"t":"i32","v":"11"}}]]}}]}"#
    );
}

fn moment(text: &str) -> DateTime {
    text.parse().expect("a moment")
}

/// One value of every kind.
fn values() -> Vec<Value> {
    let utc = moment("2024-02-29 04:34:56.123456");
    vec![
        Value::Null,
        Value::Bool(true),
        Value::Int(i32::MIN),
        Value::BigInt(i64::MIN),
        Value::UnsignedBigInt(u64::MAX),
        Value::Float(f32::MIN_POSITIVE),
        Value::Float(f32::NEG_INFINITY),
        Value::Double(-0.0),
        Value::Double(f64::NAN),
        Value::Decimal("-0.00000000000000000001500".parse().expect("a decimal")),
        Value::Decimal("NaN".parse().expect("a decimal")),
        Value::Text("it's \"quoted\" \\ \u{0} 你好 😀".into()),
        Value::Bytes(vec![0, 1, 255]),
        Value::Bytes(Vec::new()),
        Value::Date(Date::new(2024, 2, 29)),
        Value::Date(Date::new(2024, 2, 31)),
        Value::Date(Date::new(1582, 10, 10)),
        Value::Date(Date::ZERO),
        Value::Date(Date::INFINITY),
        Value::Date(Date::NEG_INFINITY),
        Value::Date(Date::new(-4712, 1, 1)),
        Value::Date(Date::new(i32::MAX, 1, 1)),
        Value::Year(1999),
        Value::Year(0),
        Value::Time(Time::new(12, 34, 56, 123_456_000)),
        Value::Time(Time::new(838, 59, 59, 999_999_000).negated()),
        Value::TimeTz {
            time: Time::new(1, 2, 3, 4000),
            offset_s: -12_600,
        },
        Value::DateTime(utc),
        Value::DateTime(moment("0000-00-00 00:00:00")),
        Value::DateTime(moment("1582-10-04 12:00:00")),
        Value::DateTime(DateTime::INFINITY),
        Value::Timestamp(utc),
        Value::Timestamp(moment("0001-01-01 00:00:00")),
        Value::Timestamp(DateTime::NEG_INFINITY),
        Value::JavaTimestamp {
            utc,
            local: moment("2024-02-29 12:34:56.123456"),
        },
        Value::Uuid([0xAB; 16]),
        Value::Interval(Interval::new(-14, 3, -90_061_500_000)),
        Value::PgObject(PgObject {
            type_name: "jsonb".into(),
            text: "{\"a\": [1.50]}".into(),
        }),
        Value::PgObject(PgObject {
            type_name: "point".into(),
            text: "(3,4)".into(),
        }),
        Value::Array(Array {
            element_jdbc_type: 4,
            element_type: "int4".into(),
            elements: vec![Value::Int(1), Value::Null],
        }),
        Value::Other(Other {
            class: "a.B".into(),
            json: "{\"@class\":\"a.B\"}".into(),
        }),
    ]
}

/// A client of version 2.6.0 takes the earlier form of a text array for one that begins with the name of a class, and restores
/// that: both forms are as real clients wrote them.
#[test]
fn arrays_are_written_as_the_clients_of_a_version_read_them() {
    let array = Value::Array(Array {
        element_jdbc_type: 4,
        element_type: "int4".into(),
        elements: vec![Value::Int(1), Value::Int(2), Value::Null],
    });
    let class = "\"@class\":\"org.apache.seata.rm.datasource.sql.serial.SerialArray\"";
    let list =
        format!("{{{class},\"baseType\":4,\"baseTypeName\":\"int4\",\"elements\":[1,2,null]}}");
    let same = "[\"[Ljava.lang.Integer;\",[1,2,null]]";
    let bean = format!(
        "{{{class},\"elements\":{same},\"baseType\":4,\"baseTypeName\":\"int4\",\"array\":{same},\"resultSet\":null}}"
    );
    let mut format = east();
    for (form, expected) in [(ArrayForm::List, list), (ArrayForm::Bean, bean)] {
        format.java.arrays = form;
        let text = document(&log_of(2003, array.clone()), &format);
        assert!(text.contains(&format!("\"value\":{expected}")), "{text}");
    }
}

#[test]
fn every_kind_of_value_comes_back() {
    for (serializer, date_time) in [
        (Serializer::Native, DateTimeClass::Timestamp),
        (Serializer::Jackson, DateTimeClass::Timestamp),
        (Serializer::Jackson, DateTimeClass::LocalDateTime),
    ] {
        let mut format = Format {
            serializer,
            ..east()
        };
        format.java.date_time = date_time;
        for value in values() {
            let log = log_of(1111, value.clone());
            let encoded = encode(&log, &format, None).expect("writes");
            let read = decode(&encoded.context, &encoded.content, &format);
            let read = read.unwrap_or_else(|error| panic!("{value:?} in {serializer}: {error}"));
            assert!(
                value_of(&read).same_as(&value),
                "{value:?} became {:?}",
                value_of(&read)
            );
            if serializer == Serializer::Native {
                assert_eq!(read, log);
            }
        }
    }
}

#[test]
fn what_java_holds_in_part_stands_whole_beside_it() {
    let time = Value::Time(Time::new(12, 34, 56, 500_000_000));
    assert_eq!(
        written(92, time, &east()),
        r#"["java.sql.Time","12:34:56"],"exact":{"t":"time","v":"12:34:56.5"}"#
    );
    let with_offset = Value::TimeTz {
        time: Time::new(23, 0, 0, 0),
        offset_s: 3600,
    };
    assert_eq!(
        written(92, with_offset, &east()),
        r#"["java.sql.Time","06:00:00"],"exact":{"t":"timetz","v":"23:00:00 3600"}"#
    );
    assert_eq!(
        written(-7, Value::Int(2), &east()),
        r#"true,"exact":{"t":"i32","v":"2"}"#
    );
    assert_eq!(
        written(-7, Value::Int(-7), &east()),
        r#"false,"exact":{"t":"i32","v":"-7"}"#
    );
    assert_eq!(written(-7, Value::Int(1), &east()), "true");
}

#[test]
fn what_java_cannot_hold_no_java_client_can_read() {
    for (jdbc_type, value, expected) in [
        (
            91,
            Value::Date(Date::ZERO),
            r#"{"t":"date","v":"0000-00-00"}"#,
        ),
        (
            91,
            Value::Date(Date::new(2024, 2, 31)),
            r#"{"t":"date","v":"2024-02-31"}"#,
        ),
        (91, Value::Year(0), r#"{"t":"year","v":"0"}"#),
        (
            92,
            Value::Time(Time::new(26, 0, 0, 0)),
            r#"{"t":"time","v":"26:00:00"}"#,
        ),
        (
            93,
            Value::DateTime(moment("0000-00-00 00:00:00")),
            r#"{"t":"datetime","v":"0000-00-00 00:00:00"}"#,
        ),
    ] {
        assert_eq!(
            written(jdbc_type, value, &east()),
            format!("[\"seamio.Exact\",{expected}]")
        );
    }
}

#[test]
fn timestamps_have_the_form_that_the_java_client_reads() {
    let mut format = east();
    let (whole, fraction) = (
        moment("2024-02-29 12:34:56.123"),
        moment("2024-02-29 12:34:56.123456"),
    );
    let local = |moment, format: &Format| written(93, Value::DateTime(moment), format);
    assert_eq!(
        local(whole, &format),
        r#"["java.sql.Timestamp",1709181296123]"#
    );
    assert_eq!(
        local(fraction, &format),
        r#"["java.sql.Timestamp",[1709181296123,123456000]]"#
    );
    format.java.timestamps = TimestampForm::Pair;
    assert_eq!(
        local(whole, &format),
        r#"["java.sql.Timestamp",[1709181296123,123000000]]"#
    );
    format.java.date_time = DateTimeClass::LocalDateTime;
    assert_eq!(
        local(whole, &format),
        r#"["java.time.LocalDateTime",[1709181296123,123000000]]"#
    );
    let utc = Value::Timestamp(moment("1969-12-31 15:59:59.000001"));
    assert_eq!(
        written(93, utc, &format),
        r#"["java.sql.Timestamp",[-28801000,1000]]"#
    );
}

#[test]
fn members_may_come_in_any_order_and_lists_without_their_class() {
    let text = r#" {"unknown":[{"a":1}],"sqlUndoLogs":[{"afterImage":null,"tableName":"t","sqlType":"DELETE","beforeImage":
        {"rows":[{"fields":[{"value":["java.lang.Long",1],"more":{},"type":-5,"keyType":"PRIMARY_KEY","name":"id"}]}],"tableName":"t"}}],
        "branchId":1,"xid":"x","@class":"whatever"} "#;
    let log = read(text).expect("reads");
    assert_eq!(value_of(&log), Value::BigInt(1));
    assert_eq!(log.items[0].after, Image::empty("t"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let around = |value: &str| {
        format!(
            r#"{{"xid":"x","branchId":1,"sqlUndoLogs":[{{"sqlType":"DELETE","tableName":"t","beforeImage":{{"tableName":"t","rows":[{{"fields":[{{"name":"c","keyType":"NULL","type":91,"value":{value}}}]}}]}},"afterImage":null}}]}}"#
        )
    };
    for (text, expected) in [
        ("{}".to_owned(), "the member \"xid\" is missing"),
        ("[]".to_owned(), "byte 0: an object was expected"),
        (
            r#"{"xid":"x","branchId":1.5,"sqlUndoLogs":[]}"#.to_owned(),
            "\"1.5\" is no number that fits",
        ),
        (
            r#"{"xid":"x","branchId":1,"sqlUndoLogs":[{"sqlType":"INSERT_ON_UPDATE"}]}"#.to_owned(),
            "a change of the kind \"INSERT_ON_UPDATE\" cannot be undone",
        ),
        (
            around(r#"["java.sql.Date",1]"#),
            "column \"c\", whose value ends here: java.sql.Date 1 is no midnight in the zone +08:00",
        ),
        (
            around(r#"["java.lang.Long","x"]"#),
            "a text is no value of the class java.lang.Long",
        ),
        (
            around(r#"["java.lang.Long"]"#),
            "nothing is no value of the class java.lang.Long",
        ),
        (
            around(r#"["[B","=="]"#),
            "a text is no value of the class [B",
        ),
        (around("[1,2,3]"), "a list that is no class with its value"),
        (
            around(r#"["seamio.Exact",{"t":"i32","v":"x"}]"#),
            "\"x\" is no value of the kind \"i32\"",
        ),
    ] {
        let error = read(&text).expect_err(&text);
        assert!(
            error.starts_with("the undo log is no document of the dialect jackson: "),
            "{error}"
        );
        assert!(error.contains(expected), "{error} without {expected}");
    }
    // A class without a variant is kept, whatever it is.
    let log = read(&around(r#"["java.sql.RowId",{"a":1}]"#)).expect("reads");
    assert!(matches!(value_of(&log), Value::Other(other) if other.class == "java.sql.RowId"));
}

#[test]
fn what_only_others_read_is_refused() {
    for (context, expected) in [
        (
            "serializer=protobuf",
            "undo log in the dialect \"protobuf\", which only the client that wrote it can read",
        ),
        (
            "serializer=kryo&compressorType=NONE",
            "undo log in the dialect \"kryo\"",
        ),
    ] {
        let context = Context::parse(context).expect("a context");
        let error = decode(&context, b"{}", &east())
            .expect_err("unknown")
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let fastjson = Format {
        serializer: Serializer::Fastjson,
        ..east()
    };
    let refused = encode(&log(SqlType::Update, stock(1), stock(2)), &fastjson, None);
    assert_eq!(refused, Err(Error::ReadOnly(Serializer::Fastjson)));
}

#[test]
fn limits_are_errors() {
    let mut update = log(SqlType::Update, stock(1), stock(2));
    let mut format = east();
    let length = document(&update, &format).len();
    format.document_bytes_max = length;
    let encoded = encode(&update, &format, None).expect("fits");
    assert_eq!(
        decode(&encoded.context, &encoded.content, &format).as_ref(),
        Ok(&update)
    );
    format.document_bytes_max = length - 1;
    let too_large = Error::TooLarge {
        bytes_max: length - 1,
    };
    assert_eq!(encode(&update, &format, None), Err(too_large.clone()));
    assert_eq!(
        decode(&encoded.context, &encoded.content, &format),
        Err(too_large)
    );
    update.xid = "x".repeat(129);
    let error = encode(&update, &east(), None)
        .expect_err("too long")
        .to_string();
    assert!(
        error.starts_with("129 characters for the column xid"),
        "{error}"
    );
}

#[test]
fn large_documents_are_compressed_and_the_context_says_so() {
    let rows = (0..2000).map(|id| Row {
        fields: vec![field("id", FieldKey::Primary, 4, Value::Int(id))],
    });
    let image = Image {
        table_name: "t".into(),
        rows: rows.collect(),
    };
    let delete = log(SqlType::Delete, image, Image::empty("t"));
    let format = Format::default();
    let encoded = encode(&delete, &format, Some(1 << 20)).expect("writes");
    assert_eq!(
        encoded.context.to_string(),
        "serializer=jackson&compressorType=ZIP&map=1048576"
    );
    assert!(encoded.content.len() < 64 << 10);
    assert_eq!(
        decode(&encoded.context, &encoded.content, &format),
        Ok(delete)
    );
}
