//! JSON as the writers of contexts leave it: numbers keep their digits, members their order.
//!
//! A context may hold a price of `12.50` that the second phase wants as text, so numbers are not turned into floats on the way.
//! Java's jackson adds its classes (`["java.lang.Long",5]`, `@class`); [`Json::without_classes`] takes them away.

mod read;

use std::fmt::Write;

use crate::client::json::{Fault, Grammar, Reader};

pub(super) use read::{Dialect, read};

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number as it was written.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in the order of its members.
    Object(Members),
}

/// The members of an object.
pub(super) type Members = Vec<(String, Json)>;

impl Json {
    /// Reads one value and nothing after it.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut reader = Reader::new(text, Grammar::Forgiving);
        let value = value(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// What a value of the host becomes.
    pub(super) fn of<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
        Self::parse(&text).map_err(|fault| format!("no JSON: {fault}"))
    }

    /// The text, without blanks.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// The value without jackson's classes, for a document that has them everywhere: there an array of two that begins with
    /// the name of a class is a value with its class, and every real array is the second half of one.
    pub(super) fn without_classes(self) -> Self {
        match self {
            Self::Array(mut items) if is_classed(&items) => items
                .pop()
                .map_or(Self::Null, Self::members_without_classes),
            other => other.members_without_classes(),
        }
    }

    fn members_without_classes(self) -> Self {
        match self {
            Self::Array(items) => {
                Self::Array(items.into_iter().map(Self::without_classes).collect())
            }
            Self::Object(members) => {
                let kept = members.into_iter().filter(|(key, _)| key != CLASS);
                let kept = kept.map(|(key, value)| (key, value.without_classes()));
                Self::Object(kept.collect())
            }
            scalar => scalar,
        }
    }

    /// Whether jackson wrote it with classes.
    pub(super) fn has_classes(&self) -> bool {
        match self {
            Self::Object(members) => members.first().is_some_and(|(key, _)| key == CLASS),
            Self::Array(items) => {
                is_classed(items) && matches!(items[1], Self::Array(_) | Self::Object(_))
            }
            _ => false,
        }
    }

    /// The value without the class of a single number: a document without classes may hold one of another writer.
    pub(super) fn without_class_of_number(self) -> Self {
        match self {
            Self::Array(mut items) if is_java_number(&items) => items.pop().unwrap_or(Self::Null),
            other => other,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Number(digits) => out.push_str(digits),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => write_members(members, out),
        }
    }
}

fn value(reader: &mut Reader<'_>) -> Result<Json, Fault> {
    match reader.peek() {
        Some(b'{') => {
            let mut members = Members::new();
            reader.object(|reader, name| {
                members.push((name.to_owned(), value(reader)?));
                Ok(())
            })?;
            Ok(Json::Object(members))
        }
        Some(b'[') => {
            let mut items = Vec::new();
            reader.array(|reader, _| {
                items.push(value(reader)?);
                Ok(())
            })?;
            Ok(Json::Array(items))
        }
        Some(b'"') => Ok(Json::Text(reader.string()?.into_owned())),
        Some(b'n') => reader.null().map(|_| Json::Null),
        _ => match reader.boolean()? {
            Some(flag) => Ok(Json::Bool(flag)),
            None => Ok(Json::Number(reader.number()?.to_owned())),
        },
    }
}

fn write_members(members: &[(String, Json)], out: &mut String) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        value.write(out);
    }
    out.push('}');
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let written = write!(out, "\\u{:04x}", u32::from(control));
                debug_assert!(written.is_ok(), "a string takes what is written");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// `[class, value]`.
fn is_classed(items: &[Json]) -> bool {
    matches!(items, [Json::Text(class), _] if is_class_name(class))
}

fn is_java_number(items: &[Json]) -> bool {
    matches!(items, [Json::Text(class), Json::Number(_)] if class.starts_with("java."))
}

/// `java.lang.Long`, `pkg.Outer$Inner`, `[B`, `[Ljava.lang.String;`.
fn is_class_name(name: &str) -> bool {
    let name = name.trim_start_matches('[');
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '$' | '_' | ';');
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(allowed)
}

/// The member in which jackson keeps the class of an object.
const CLASS: &str = "@class";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn json(text: &str) -> Json {
        Json::parse(text).expect("well formed")
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for text in [
            r#"{"b":12.50,"a":[1,-2.5E+3,"x"],"n":null,"t":true,"o":{}}"#,
            r#""quote \" back \\ line \n tab \t bell \u0007 你😀""#,
            "[]",
            "9223372036854775808123",
        ] {
            assert_eq!(json(text).to_text(), text);
        }
        assert_eq!(json(" [ 1 , {\"a\" : 2} ] ").to_text(), r#"[1,{"a":2}]"#);
    }

    #[test]
    fn jacksons_classes_go_and_its_values_stay() {
        let typed = json(
            r#"{"@class":"java.util.HashMap","n":["java.lang.Long",9],"price":["java.math.BigDecimal",12.50],
                "list":["java.util.Arrays$ArrayList",["x","y,z"]],"color":["Tcc$Color","GREEN"],"bytes":["[B","AAH/"],
                "longs":["[Ljava.lang.Long;",[1,2]],"bean":{"@class":"Tcc$Address","zip":50667},
                "lists":["java.util.ArrayList",[["java.util.ArrayList",["a","b"]]]],"rate":0.1}"#,
        );
        assert!(typed.has_classes());
        assert_eq!(
            typed.without_classes().to_text(),
            r#"{"n":9,"price":12.50,"list":["x","y,z"],"color":"GREEN","bytes":"AAH/","longs":[1,2],"bean":{"zip":50667},"lists":[["a","b"]],"rate":0.1}"#
        );
    }

    #[test]
    fn a_plain_pair_is_no_value_with_a_class() {
        let pair = json(r#"["x","y"]"#);
        assert!(!pair.has_classes());
        assert_eq!(pair.clone().without_class_of_number(), pair);
        let number = json(r#"["java.lang.Long",5]"#);
        assert_eq!(number.without_class_of_number(), json("5"));
    }
}
