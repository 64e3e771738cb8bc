//! Undo logs and lock keys of real Java clients: every one is read, and what we write for the same rows is what they wrote.
//!
//! The cases kept beside this file run always; with `SEAMIO_VECTORS=FOLDER` the recorded ones do as well.

mod rows;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};

use seamio::client::at::comparison::{Verdict, compare};
use seamio::client::at::image::{BranchUndoLog, Field, Image, Row, SqlType, UndoItem};
use seamio::client::at::lock_key::{KeyRules, Reason, TableKeys, Underscore, join};
use seamio::client::at::undo_log::{Context, Error, Format, Serializer, decode, encode, finished};
use seamio::client::at::value::Value;
use vectors::{Case, UndoLog, kept, recorded};

/// Runs a test on the kept cases, and on all recorded ones where they are.
fn on_all(test: impl Fn(&[Case]) -> String) {
    println!("kept cases: {}", test(&kept()));
    match recorded() {
        Some(cases) => println!("recorded cases: {}", test(&cases)),
        None => println!("recorded cases: skipped, SEAMIO_VECTORS is not set"),
    }
}

/// The undo logs in a dialect that we read, each with its case and the format of its writer.
fn readable(cases: &[Case]) -> Vec<(&Case, UndoLog, Format)> {
    let mut all = Vec::new();
    let mut skipped = 0;
    for case in cases {
        let Some(format) = case.format() else {
            skipped += 1;
            continue;
        };
        let foreign = ["kryo", "protostuff", "SEVENZ"];
        let logs = case.undo_logs().into_iter();
        let logs = logs.filter(|log| {
            log.log_status == 0 && !foreign.iter().any(|word| log.context.contains(word))
        });
        all.extend(logs.map(|log| (case, log, format.clone())));
    }
    if skipped > 0 {
        println!("skipped: {skipped} cases, this system has no tz database");
    } else {
        assert!(all.len() > 1100, "{}", all.len());
    }
    all
}

#[test]
fn every_undo_log_is_read() {
    on_all(|cases| {
        let readable = readable(cases);
        for (case, log, format) in &readable {
            let read = log
                .decoded(format)
                .unwrap_or_else(|error| panic!("{}: {error}", case.label()));
            assert_eq!(read.xid, log.xid, "{}", case.label());
            assert_eq!(read.branch_id, log.branch_id, "{}", case.label());
            for item in &read.items {
                let empty = (item.before.is_empty(), item.after.is_empty());
                let expected = match item.sql_type {
                    SqlType::Insert => (true, false),
                    SqlType::Delete => (false, true),
                    SqlType::Update | SqlType::UpdateJoin => (false, false),
                };
                assert_eq!(empty, expected, "{}", case.label());
            }
        }
        format!("{} read", readable.len())
    });
}

#[test]
fn what_only_others_read_is_refused_by_name() {
    on_all(|cases| {
        let mut refused = BTreeMap::new();
        for case in cases {
            let Some(format) = case.format() else {
                continue;
            };
            for log in case.undo_logs() {
                if log.log_status == 1 {
                    assert_eq!(log.content, finished(&format).content);
                    assert_eq!(
                        Context::parse(&log.context).expect("a context"),
                        finished(&format).context
                    );
                    continue;
                }
                match log.decoded(&format) {
                    Ok(_) => {}
                    Err(Error::UnknownSerializer { name } | Error::UnknownCompressor { name }) => {
                        *refused.entry(name).or_insert(0) += 1;
                    }
                    Err(error) => panic!("{}: {error}", case.label()),
                }
            }
        }
        let counts: Vec<_> = refused
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
            .collect();
        assert_eq!(counts, [("SEVENZ", 4), ("kryo", 8), ("protostuff", 8)]);
        format!("{counts:?} refused")
    });
}

/// What the classes of the driver make differ from what we write for the same content.
fn of_another_driver(case: &Case, log: &UndoLog) -> bool {
    let text = String::from_utf8_lossy(&log.content);
    // Of MariaDB's own driver.
    let mariadb = case.text("driver").starts_with("mariadb")
        && ["java.lang.Short", "SerialBlob", "java.util.UUID"]
            .iter()
            .any(|class| text.contains(class));
    // Clients of version 1 write the bean of a class that they cannot read.
    let bean = text.contains(r#"{"@class":"java.time.LocalDateTime""#);
    // Jackson 2.9 leaves the class out.
    let special = text.contains(r#""value":"NaN""#) || text.contains(r#""value":"-Infinity""#);
    mariadb || bean || (special && case.text("source").ends_with("1.4.2"))
}

#[test]
fn what_was_read_is_written_as_it_was() {
    on_all(|cases| {
        let (mut same, mut others) = (0, 0);
        for (case, log, format) in readable(cases) {
            let read = log.decoded(&format).expect("reads");
            let written = encode(&read, &format, None).expect("writes");
            let jackson = log
                .context
                .contains("serializer=jackson&compressorType=NONE");
            if jackson && !of_another_driver(case, &log) {
                let (ours, javas) = (
                    String::from_utf8_lossy(&written.content),
                    String::from_utf8_lossy(&log.content),
                );
                assert_eq!(ours, javas, "{}", case.label());
                same += 1;
            } else {
                let again = decode(&written.context, &written.content, &format).expect("reads");
                assert!(same_content(&read, &again), "{}", case.label());
                others += 1;
            }
            let native = Format {
                serializer: Serializer::Native,
                ..format
            };
            let written = encode(&read, &native, None).expect("writes");
            let again = decode(&written.context, &written.content, &native);
            assert_eq!(again.as_ref(), Ok(&read), "{}", case.label());
        }
        assert!(same == 0 || same > 950, "{same}");
        format!("{same} to the byte, {others} by content")
    });
}

/// The document without the members in which we keep what Java's form of a value does not hold.
fn javas_part(document: &str) -> String {
    let mut parts = document.split(",\"exact\":{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('}').map_or("", |(_, behind)| behind));
    }
    out
}

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

fn same_content(one: &BranchUndoLog, other: &BranchUndoLog) -> bool {
    let fields = |log: &BranchUndoLog| -> Vec<Field> {
        let images = log
            .items
            .iter()
            .flat_map(|item| [&item.before, &item.after]);
        images
            .flat_map(|image| &image.rows)
            .flat_map(|row| &row.fields)
            .cloned()
            .collect()
    };
    let (one, other) = (fields(one), fields(other));
    let same = |(a, b): (&Field, &Field)| {
        a.name == b.name && a.jdbc_type == b.jdbc_type && a.value.same_as(&b.value)
    };
    one.len() == other.len() && one.iter().zip(&other).all(same)
}

/// An image with the values of the rows themselves. None when a row is not found, or holds a type that is not made from text here.
fn rebuilt(case: &Case, image: &Image, when: &str) -> Option<Image> {
    let mut rows = Vec::new();
    if image.is_empty() {
        return Some(image.clone());
    }
    let all = rows::rows(case, when, &image.table_name)?;
    for row in &image.rows {
        let value = |field: &Field, json: &serde_json::Value| {
            let column = rows::column(case, &image.table_name, &field.name)?;
            rows::value(case, &column, json.get(&field.name)?)
        };
        let found = all.iter().find(|json| {
            let same =
                |field: &Field| value(field, json).is_some_and(|found| field.value.same_as(&found));
            row.key().all(same)
        })?;
        let mut fields = Vec::new();
        for field in &row.fields {
            let column = rows::column(case, &image.table_name, &field.name)?;
            fields.push(Field {
                value: value(field, found)?,
                jdbc_type: column.jdbc_type,
                ..field.clone()
            });
        }
        rows.push(Row { fields });
    }
    Some(Image {
        rows,
        ..image.clone()
    })
}

/// Whether no row is named by two statements, so that the rows before and after the branch are those before and after each.
fn touches_rows_once(log: &BranchUndoLog) -> bool {
    let mut seen = BTreeSet::new();
    log.items.iter().all(|item| {
        let image = if item.after.is_empty() {
            &item.before
        } else {
            &item.after
        };
        image.rows.iter().all(|row| {
            let key: Vec<String> = row.key().map(|field| field.value.to_string()).collect();
            seen.insert((image.table_name.clone(), key))
        })
    })
}

/// The cases that Java undid, with their undo logs made of the rows.
fn undone(cases: &[Case]) -> Vec<(&Case, UndoLog, Format, BranchUndoLog)> {
    let mut all = Vec::new();
    let mut without = BTreeMap::new();
    for (case, log, format) in readable(cases) {
        if case.text("outcome") != "rolled back"
            || of_another_driver(case, &log)
            || log.context.contains("fastjson")
        {
            continue;
        }
        let read = log.decoded(&format).expect("reads");
        if !touches_rows_once(&read) || case.json["more_branches"].is_array() {
            continue;
        }
        let items: Option<Vec<UndoItem>> = read
            .items
            .iter()
            .map(|item| {
                Some(UndoItem {
                    before: rebuilt(case, &item.before, "rows_before")?,
                    after: rebuilt(case, &item.after, "rows_after")?,
                    ..item.clone()
                })
            })
            .collect();
        match items {
            Some(items) => all.push((case, log, format, BranchUndoLog { items, ..read })),
            None => *without.entry(case.text("name").to_owned()).or_insert(0) += 1,
        }
    }
    println!("without rows of their own: {without:?}");
    all
}

#[test]
fn what_is_written_for_the_same_rows_is_what_java_wrote() {
    on_all(|cases| {
        let undone = undone(cases);
        let mut wrong = Vec::new();
        for (case, log, format, rebuilt) in &undone {
            let written = encode(rebuilt, format, None).expect("writes");
            let ours = javas_part(&text(&written.content));
            let javas = text(
                &encode(&log.decoded(format).expect("reads"), format, None)
                    .expect("writes")
                    .content,
            );
            if ours != javas {
                let at = ours.bytes().zip(javas.bytes()).position(|(a, b)| a != b);
                let near = |text: &str| {
                    let start = at.unwrap_or(0).saturating_sub(80);
                    text.chars().skip(start).take(160).collect::<String>()
                };
                wrong.push(format!(
                    "{}\n  ours: {}\n  Java's: {}",
                    case.label(),
                    near(&ours),
                    near(&javas)
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(undone.is_empty() || undone.len() > 500, "{}", undone.len());
        format!("{} written", undone.len())
    });
}

#[test]
fn rows_that_java_undid_are_undone() {
    on_all(|cases| {
        let undone = undone(cases);
        let mut wrong = Vec::new();
        let mut in_part = 0;
        for (case, log, format, rebuilt) in &undone {
            let written = encode(rebuilt, format, None).expect("writes");
            if text(&written.content).contains("\"exact\":") {
                // Java holds a part of the value only, and did not look at the rest.
                in_part += 1;
                continue;
            }
            let read = log.decoded(format).expect("reads");
            for (item, rows) in read.items.iter().zip(&rebuilt.items) {
                let same = item.before.rows == item.after.rows;
                for (verdict, expected) in [
                    (compare(item, &rows.after), Verdict::Undo),
                    (compare(item, &rows.before), Verdict::AlreadyUndone),
                    // The same the other way round: what we wrote, when Java's reading of the rows is there.
                    (compare(rows, &item.after), Verdict::Undo),
                ] {
                    let expected = if same { Verdict::Unchanged } else { expected };
                    if verdict != expected {
                        wrong.push(format!(
                            "{}: {verdict:?} instead of {expected:?}",
                            case.label()
                        ));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        format!("{} compared, {in_part} held in part", undone.len())
    });
}

#[test]
fn rows_are_locked_as_java_locks_them() {
    on_all(|cases| {
        let mut same = 0;
        let mut refused = BTreeMap::new();
        for (case, log, format) in readable(cases) {
            let key = lock_key(case, &log);
            let Some(key) = key else { continue };
            let rules = KeyRules {
                underscore: Underscore::Shared,
                java: format.java.clone(),
                ..KeyRules::default()
            };
            let read = log.decoded(&format).expect("reads");
            let statements: Result<Vec<TableKeys>, _> = read
                .items
                .iter()
                .map(|item| {
                    let image = if item.sql_type == SqlType::Delete {
                        &item.before
                    } else {
                        &item.after
                    };
                    let columns: Vec<&str> = image.rows[0]
                        .key()
                        .map(|field| field.name.as_str())
                        .collect();
                    let columns: Vec<&str> = columns
                        .iter()
                        .enumerate()
                        .filter(|(at, name)| !columns[..*at].contains(name))
                        .map(|(_, name)| *name)
                        .collect();
                    TableKeys::of(&image.table_name, &columns, image, &rules)
                })
                .collect();
            match statements {
                Ok(statements) => {
                    let groups: BTreeSet<String> =
                        statements.iter().map(|keys| join([keys])).collect();
                    let javas: BTreeSet<String> = key.split(';').map(str::to_owned).collect();
                    if merged(case) {
                        // An upsert is one statement of two items.
                        assert_eq!(members(&groups), members(&javas), "{}", case.label());
                    } else {
                        assert_eq!(groups, javas, "{}", case.label());
                    }
                    same += 1;
                }
                Err(error) => {
                    let separates = matches!(
                        error.reason,
                        Reason::Character(',' | ';') | Reason::Blank | Reason::Bytes
                    );
                    assert!(separates, "{}: {error}", case.label());
                    *refused.entry(format!("{:?}", error.reason)).or_insert(0) += 1;
                }
            }
        }
        assert!(same == 0 || same > 1000, "{same}");
        format!("{same} the same, {refused:?} refused")
    });
}

/// The lock key of the branch of this undo log.
fn lock_key<'a>(case: &'a Case, log: &UndoLog) -> Option<&'a str> {
    if case.json["undo"]["branch_id"] == log.branch_id {
        return case.json["lockKey"].as_str();
    }
    let more = case.json["more_branches"].as_array()?;
    let branch = more
        .iter()
        .find(|branch| branch["undo"]["branch_id"] == log.branch_id)?;
    branch["lockKey"].as_str()
}

fn merged(case: &Case) -> bool {
    case.text("name").starts_with("upsert/") || case.text("name").starts_with("join/")
}

fn members(groups: &BTreeSet<String>) -> BTreeSet<(String, String)> {
    let rows = groups.iter().filter_map(|group| group.split_once(':'));
    let rows = rows.flat_map(|(table, rows)| {
        rows.split(',')
            .map(move |row| (table.to_owned(), row.to_owned()))
    });
    rows.collect()
}

#[test]
fn a_null_is_a_null_in_every_dialect() {
    let field = Field {
        name: "c".into(),
        key: seamio::client::at::image::FieldKey::None,
        jdbc_type: 12,
        value: Value::Null,
    };
    let log = BranchUndoLog {
        xid: "x".into(),
        branch_id: 1,
        items: vec![UndoItem {
            sql_type: SqlType::Delete,
            table_name: "t".into(),
            before: Image {
                table_name: "t".into(),
                rows: vec![Row {
                    fields: vec![field],
                }],
            },
            after: Image::empty("t"),
        }],
    };
    for serializer in [Serializer::Jackson, Serializer::Native] {
        let format = Format {
            serializer,
            ..Format::default()
        };
        let encoded = encode(&log, &format, None).expect("writes");
        assert_eq!(
            decode(&encoded.context, &encoded.content, &format).as_ref(),
            Ok(&log)
        );
    }
}
