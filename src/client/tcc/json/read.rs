//! From JSON to values of the host, as forgiving as Java's readers of contexts are (client.md 6.2).
//!
//! | wanted | held | becomes |
//! |---|---|---|
//! | text | a number, a flag | its text |
//! | text | an array, an object | its JSON |
//! | a number, a flag | text | what the text says |
//! | an integer | `5.0`, `5E+2` | the integer, if it is one |
//! | an array, an object | text | the JSON in the text |
//! | bytes, an array of bytes | text | base64 |
//! | anything | a number that no float holds exactly | its text |

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::Json;

/// Why a value is not what was wanted: which member, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Unreadable(String);

/// Whether the document around a value has jackson's classes: then JSON in its texts has them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Dialect {
    /// Without classes.
    Plain,
    /// With classes everywhere.
    Classes,
}

/// Reads a value of the host.
pub(in super::super) fn read<T: DeserializeOwned>(
    json: &Json,
    dialect: Dialect,
) -> Result<T, Unreadable> {
    T::deserialize(Reader { json, dialect })
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl serde::de::Error for Unreadable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    json: &'a Json,
    dialect: Dialect,
}

impl Reader<'_> {
    /// The JSON in a text, if it is an array or an object.
    fn nested(&self, text: &str) -> Option<Json> {
        let json = Json::parse(text).ok()?;
        let json = match self.dialect {
            Dialect::Plain => json,
            Dialect::Classes => json.without_classes(),
        };
        matches!(json, Json::Array(_) | Json::Object(_)).then_some(json)
    }

    fn of<'b>(&self, json: &'b Json) -> Reader<'b> {
        let dialect = self.dialect;
        Reader { json, dialect }
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let (Json::Number(digits) | Json::Text(digits)) = self.json else {
            return Err(self.unexpected(&visitor));
        };
        let Some(integer) = whole(digits) else {
            return Err(self.unexpected(&visitor));
        };
        match (i64::try_from(integer), u64::try_from(integer)) {
            (Ok(small), _) => visitor.visit_i64(small),
            (_, Ok(large)) => visitor.visit_u64(large),
            _ => visitor.visit_i128(integer),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let (Json::Number(digits) | Json::Text(digits)) = self.json else {
            return Err(self.unexpected(&visitor));
        };
        match digits.trim().parse() {
            Ok(float) => visitor.visit_f64(float),
            Err(_) => Err(self.unexpected(&visitor)),
        }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Text(text) | Json::Number(text) => visitor.visit_str(text),
            Json::Null => Err(self.unexpected(&visitor)),
            other => visitor.visit_string(other.to_text()),
        }
    }

    fn bytes<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Text(text) => match bytes_of(text) {
                Some(bytes) => visitor.visit_byte_buf(bytes),
                None => Err(self.unexpected(&visitor)),
            },
            Json::Array(_) => visitor.visit_byte_buf(read(self.json, self.dialect)?),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn seq<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Array(items) => visitor.visit_seq(Items {
                rest: items,
                index: 0,
                dialect: self.dialect,
            }),
            Json::Text(text) => match (self.nested(text), bytes_of(text)) {
                (Some(json @ Json::Array(_)), _) => self.of(&json).seq(visitor),
                (None, Some(bytes)) => visitor
                    .visit_seq(serde::de::value::SeqDeserializer::<_, Unreadable>::new(
                        bytes.into_iter(),
                    )),
                _ => Err(self.unexpected(&visitor)),
            },
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn map<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Object(members) => visitor.visit_map(Entries {
                rest: members,
                value: None,
                dialect: self.dialect,
            }),
            Json::Text(text) => match self.nested(text) {
                Some(json @ Json::Object(_)) => self.of(&json).map(visitor),
                _ => Err(self.unexpected(&visitor)),
            },
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn unexpected<'de, V: Visitor<'de>>(&self, wanted: &V) -> Unreadable {
        let held = match self.json {
            Json::Null => Unexpected::Unit,
            Json::Bool(flag) => Unexpected::Bool(*flag),
            Json::Number(_) => Unexpected::Other("a number that does not fit"),
            Json::Text(_) => Unexpected::Other("text that says something else"),
            Json::Array(_) => Unexpected::Seq,
            Json::Object(_) => Unexpected::Map,
        };
        Unreadable::invalid_type(held, wanted)
    }
}

macro_rules! forward {
    ($to:ident: $($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
            self.$to(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Unreadable;

    forward!(integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    forward!(float: deserialize_f32 deserialize_f64);
    forward!(text: deserialize_str deserialize_string deserialize_char deserialize_identifier);
    forward!(bytes: deserialize_bytes deserialize_byte_buf);
    forward!(seq: deserialize_seq);
    forward!(map: deserialize_map);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Null => visitor.visit_unit(),
            Json::Bool(flag) => visitor.visit_bool(*flag),
            Json::Number(digits) if is_integer(digits) => self.integer(visitor),
            Json::Number(digits) if is_exact(digits) => self.float(visitor),
            Json::Number(text) | Json::Text(text) => visitor.visit_str(text),
            Json::Array(_) => self.seq(visitor),
            Json::Object(_) => self.map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Bool(flag) => visitor.visit_bool(*flag),
            Json::Text(text) if text == "true" => visitor.visit_bool(true),
            Json::Text(text) if text == "false" => visitor.visit_bool(false),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// Arguments of an action that has none are an object without members.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Null | Json::Object(_) => visitor.visit_unit(),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match self.json {
            Json::Text(text) => match self.nested(text) {
                Some(json) => self.of(&json).deserialize_enum(name, variants, visitor),
                None => visitor.visit_enum(StrDeserializer::new(text)),
            },
            Json::Object(members) => match &members[..] {
                [(variant, content)] => visitor.visit_enum(Variant {
                    variant,
                    content: self.of(content),
                }),
                _ => Err(self.unexpected(&visitor)),
            },
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    rest: &'a [Json],
    index: usize,
    dialect: Dialect,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Unreadable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unreadable> {
        let Some((json, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        self.index += 1;
        let dialect = self.dialect;
        let value = seed.deserialize(Reader { json, dialect });
        let at = self.index - 1;
        value
            .map(Some)
            .map_err(|error| within(&format!("[{at}]"), &error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'a> {
    rest: &'a [(String, Json)],
    value: Option<(&'a str, &'a Json)>,
    dialect: Dialect,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Unreadable;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unreadable> {
        let Some(((key, json), rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        self.value = Some((key, json));
        let key = Json::Text(key.clone());
        let dialect = self.dialect;
        let key = Reader {
            json: &key,
            dialect,
        };
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Unreadable> {
        let Some((key, json)) = self.value.take() else {
            return Err(Unreadable::custom("a value was asked for before its name"));
        };
        let dialect = self.dialect;
        let value = seed.deserialize(Reader { json, dialect });
        value.map_err(|error| within(&format!(".{key}"), &error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A variant with its content: `{"Variant":content}`.
struct Variant<'a> {
    variant: &'a str,
    content: Reader<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Unreadable;
    type Variant = Reader<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Reader<'a>), Unreadable> {
        let name = StrDeserializer::<Unreadable>::new(self.variant);
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = Unreadable;

    fn unit_variant(self) -> Result<(), Unreadable> {
        match self.json {
            Json::Null => Ok(()),
            _ => Err(Unreadable::custom("a variant without content has some")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, Unreadable> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.map(visitor)
    }
}

/// `.order` around `.lines[2]: invalid type…`.
fn within(place: &str, error: &Unreadable) -> Unreadable {
    let nested = error.0.starts_with(['.', '[']);
    let separator = if nested { "" } else { ": " };
    Unreadable(format!("{place}{separator}{}", error.0))
}

fn is_integer(digits: &str) -> bool {
    !digits.contains(['.', 'e', 'E']) && digits.parse::<i128>().is_ok()
}

/// The bytes that a text of base64 stands for, with padding or without.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, lenient).decode(text).ok()
}

/// Whether the nearest float says the same as the digits.
fn is_exact(digits: &str) -> bool {
    let Ok(float) = digits.parse::<f64>() else {
        return false;
    };
    // Written by the shortest digits that give the same float, so equal decimals have equal digits and exponents.
    float.is_finite() && decimal(&format!("{float:e}")) == decimal(digits)
}

/// The digits without zeros at either end, the power of ten of the last one, and whether it is negative.
fn decimal(digits: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_end_matches('0');
    let zeros = (all.len() - significant.len()) as i64;
    let power = exponent
        .checked_sub(fraction.len() as i64)?
        .checked_add(zeros)?;
    match significant.trim_start_matches('0') {
        "" => Some((false, String::new(), 0)),
        significant => Some((negative, significant.to_owned(), power)),
    }
}

/// The integer that a decimal number is: `5`, `5.00`, `5E+2`.
fn whole(digits: &str) -> Option<i128> {
    let digits = digits.trim();
    if let Ok(integer) = digits.parse() {
        return Some(integer);
    }
    let (negative, digits, power) = decimal(digits)?;
    let scale = 10_i128.checked_pow(u32::try_from(power).ok()?)?;
    let magnitude = match digits.as_str() {
        "" => 0,
        digits => digits.parse::<i128>().ok()?.checked_mul(scale)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[track_caller]
    fn get<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
        read(&Json::parse(text).expect("well formed"), Dialect::Plain)
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Address {
        city: String,
        zip: u32,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    enum Color {
        #[serde(rename = "GREEN")]
        Green,
        Mixed {
            red: u8,
        },
    }

    #[test]
    fn numbers_and_flags_are_read_from_text_and_as_text() {
        assert_eq!(get(r#""7""#), Ok(7_i64));
        assert_eq!(get("5.00"), Ok(5_u8));
        assert_eq!(get("5E+2"), Ok(500_i32));
        assert_eq!(get("-0.0"), Ok(0_i32));
        assert_eq!(get("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(get("3"), Ok(3.0_f64));
        assert_eq!(get(r#""0.1""#), Ok(0.1_f64));
        assert_eq!(get("12.50"), Ok("12.50".to_owned()));
        assert_eq!(get(r#""true""#), Ok(true));
        assert_eq!(get("false"), Ok("false".to_owned()));
        assert_eq!(get(r#""c""#), Ok('c'));
        for text in ["5.5", "300", r#""x""#, "null", "[]", "1e99"] {
            assert!(get::<u8>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_in_texts_is_read() {
        let address = Address {
            city: "Köln".to_owned(),
            zip: 50667,
        };
        assert_eq!(get(r#""{\"city\":\"Köln\",\"zip\":50667}""#), Ok(address));
        assert_eq!(get(r#""[1,2]""#), Ok(vec![1, 2]));
        assert_eq!(get(r#"{"a":[1]}"#), Ok(r#"{"a":[1]}"#.to_owned()));
        let text = r#""[\"java.util.Arrays$ArrayList\",[1,2]]""#;
        let json = Json::parse(text).expect("well formed");
        assert_eq!(read(&json, Dialect::Classes), Ok(vec![1, 2]));
    }

    #[test]
    fn bytes_are_base64_or_numbers() {
        assert_eq!(get(r#""AAH/""#), Ok(vec![0_u8, 1, 255]));
        assert_eq!(get("[0,1,255]"), Ok(vec![0_u8, 1, 255]));
        assert_eq!(get(r#""Zg==""#), get::<Vec<u8>>(r#""Zg""#));
        assert!(get::<Vec<u8>>(r#""no base64!""#).is_err());
    }

    #[test]
    fn enumerations_options_and_units() {
        assert_eq!(get(r#""GREEN""#), Ok(Color::Green));
        assert_eq!(get(r#"{"Mixed":{"red":7}}"#), Ok(Color::Mixed { red: 7 }));
        assert_eq!(get("null"), Ok(None::<u8>));
        assert_eq!(get("1"), Ok(Some(1_u8)));
        assert_eq!(get("{}"), Ok(()));
        assert!(get::<()>("1").is_err());
        assert!(get::<Color>(r#""RED""#).is_err());
    }

    #[test]
    fn a_type_that_says_nothing_loses_no_digit() {
        let text = r#"{"a":1,"b":0.1,"c":1234567890.12345678901,"d":12.50,"e":null}"#;
        let read: BTreeMap<String, serde_json::Value> = get(text).expect("a map");
        assert_eq!(read["a"], serde_json::json!(1));
        assert_eq!(read["b"], serde_json::json!(0.1));
        assert_eq!(read["c"], serde_json::json!("1234567890.12345678901"));
        assert_eq!(read["d"], serde_json::json!(12.5));
        assert_eq!(read["e"], serde_json::Value::Null);
    }

    #[test]
    fn an_error_names_the_place() {
        #[derive(Deserialize, Debug)]
        struct Order {
            _lines: Vec<Line>,
        }
        #[derive(Deserialize, Debug)]
        struct Line {
            _count: u8,
        }
        let text = r#"{"_lines":[{"_count":1},{"_count":"many"}]}"#;
        let error = get::<Order>(text).expect_err("no number").to_string();
        assert!(
            error.starts_with("._lines[1]._count: invalid type"),
            "{error}"
        );
    }
}
