//! What a branch in TCC mode carries from its try to its confirm or cancel: `applicationData` (client.md 6.2).

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json::{Dialect, Json, Members, read};
use crate::proto::Text;

/// The members of a context: the arguments of the try, what it added, and what the client says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    members: Members,
    dialect: Dialect,
}

/// What the client says about itself in a context.
#[derive(Clone, Debug)]
pub(super) struct Origin<'a> {
    /// The action's name.
    pub(super) action: &'a str,
    /// When the try began, in milliseconds since 1970.
    pub(super) started_ms: u64,
    /// Whether a fence guards the branch.
    pub(super) fenced: bool,
    /// The level of isolation of the fence, in Java's numbers.
    pub(super) isolation: Option<u8>,
    /// The machine, as Java says it: its address.
    pub(super) host: &'a str,
}

/// Why a context could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContextError {
    /// The arguments are no structure or map, or serde cannot write them. Change the type of the arguments.
    Arguments(String),
    /// A member has a name that belongs to the client. Rename it, for example with serde's `rename`.
    Reserved(String),
    /// A value cannot be written as JSON.
    Value {
        /// The member.
        key: String,
        /// What serde says.
        reason: String,
    },
    /// A member or the arguments hold something else than what was asked for.
    Type(String),
    /// What the coordinator sent is no context. Another writer, or a broken one.
    Malformed(String),
    /// The context is longer than the limit. Keep large data in a table, and its key in the context.
    TooLong {
        /// Its characters.
        characters: usize,
        /// The most allowed.
        limit: usize,
    },
}

impl Document {
    /// The context of a branch that begins.
    pub(super) fn new<A: Serialize>(args: &A, origin: &Origin<'_>) -> Result<Self, ContextError> {
        let mut members = match Json::of(args).map_err(ContextError::Arguments)? {
            Json::Object(members) => members,
            Json::Null => Members::new(),
            other => {
                let what = "they have to be a structure or a map, so that each has a name";
                return Err(ContextError::Arguments(format!(
                    "{what}, not {}",
                    other.to_text()
                )));
            }
        };
        // As Java leaves out arguments that are null.
        members.retain(|(_, value)| *value != Json::Null);
        if let Some((key, _)) = members.iter().find(|(key, _)| is_reserved(key)) {
            return Err(ContextError::Reserved(key.clone()));
        }
        let text = |text: &str| Json::Text(text.to_owned());
        let about = [
            (START_TIME, Json::Number(origin.started_ms.to_string())),
            (PREPARE, text("try")),
            (COMMIT, text("confirm")),
            (ROLLBACK, text("cancel")),
            (ACTION_NAME, text(origin.action)),
            (USE_FENCE, Json::Bool(origin.fenced)),
        ];
        members.extend(about.map(|(key, value)| (key.to_owned(), value)));
        if let Some(level) = origin.isolation {
            members.push((ISOLATION.to_owned(), Json::Number(level.to_string())));
        }
        members.push((HOST_NAME.to_owned(), text(origin.host)));
        let dialect = Dialect::Plain;
        Ok(Self { members, dialect })
    }

    /// Reads what any client registered. Nothing at all is a context without members.
    pub(super) fn read(application_data: &str) -> Result<Self, ContextError> {
        let mut document = Self {
            members: Members::new(),
            dialect: Dialect::Plain,
        };
        if application_data.trim().is_empty() {
            return Ok(document);
        }
        let malformed = |what: String| ContextError::Malformed(what);
        let mut json = Json::parse(application_data)
            .map_err(|fault| malformed(format!("no JSON: {fault}")))?;
        if json.has_classes() {
            document.dialect = Dialect::Classes;
            json = json.without_classes();
        }
        let members = match json {
            Json::Object(members) => members,
            Json::Null => return Ok(document),
            _ => return Err(malformed("no object".to_owned())),
        };
        match take(members, ACTION_CONTEXT) {
            Some(Json::Object(members)) => {
                let plain = members
                    .into_iter()
                    .map(|(key, value)| (key, value.without_class_of_number()));
                document.members = plain.collect();
                Ok(document)
            }
            Some(Json::Null) | None => Ok(document),
            Some(_) => Err(malformed(format!("{ACTION_CONTEXT} is no object"))),
        }
    }

    /// As it travels.
    pub(super) fn to_text(&self) -> Text {
        let context = Json::Object(self.members.clone());
        let whole = Json::Object(vec![(ACTION_CONTEXT.to_owned(), context)]);
        Text::from(whole.to_text())
    }

    /// Whether it may travel. Characters are counted as Java does.
    pub(super) fn check_length(&self, limit: usize) -> Result<(), ContextError> {
        let characters = self.to_text().encode_utf16().count();
        match characters > limit {
            true => Err(ContextError::TooLong { characters, limit }),
            false => Ok(()),
        }
    }

    /// The arguments. A member that the client wrote about itself is none.
    pub(super) fn args<A: DeserializeOwned>(&self) -> Result<A, ContextError> {
        let args = self.members.iter().filter(|(key, _)| !is_reserved(key));
        let args = Json::Object(args.cloned().collect());
        read(&args, self.dialect).map_err(|error| ContextError::Type(error.to_string()))
    }

    /// Whether no argument is there.
    pub(super) fn is_empty(&self) -> bool {
        self.members.iter().all(|(key, _)| is_reserved(key))
    }

    /// A member, if it is there and not null.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ContextError> {
        match self.find(key) {
            None | Some(Json::Null) => Ok(None),
            Some(json) => match read(json, self.dialect) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(ContextError::Type(format!("{key}: {error}"))),
            },
        }
    }

    /// Sets a member. What is neither text nor number nor flag becomes JSON in a text, as Java does it. Returns whether that
    /// changed something.
    pub(super) fn set<T: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &T,
    ) -> Result<bool, ContextError> {
        if is_reserved(key) {
            return Err(ContextError::Reserved(key.to_owned()));
        }
        let json = Json::of(value).map_err(|reason| ContextError::Value {
            key: key.to_owned(),
            reason,
        })?;
        let json = match json {
            nested @ (Json::Array(_) | Json::Object(_)) => Json::Text(nested.to_text()),
            scalar => scalar,
        };
        match self.members.iter_mut().find(|(name, _)| name == key) {
            Some((_, held)) if *held == json => return Ok(false),
            Some((_, held)) => *held = json,
            None => self.members.push((key.to_owned(), json)),
        }
        Ok(true)
    }

    /// Whether the try was fenced.
    pub(super) fn is_fenced(&self) -> bool {
        match self.find(USE_FENCE) {
            Some(Json::Bool(fenced)) => *fenced,
            Some(Json::Text(text)) => text == "true",
            _ => false,
        }
    }

    /// The names of all members.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(key, _)| key.as_str())
    }

    /// The last of that name counts, as with every reader of JSON.
    fn find(&self, key: &str) -> Option<&Json> {
        let found = self.members.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(reason) => write!(f, "the arguments cannot be kept: {reason}"),
            Self::Reserved(key) => {
                write!(
                    f,
                    "`{key}` is a name of the client's own: rename the member"
                )
            }
            Self::Value { key, reason } => write!(f, "`{key}` cannot be written: {reason}"),
            Self::Type(reason) => write!(f, "the context holds something else: {reason}"),
            Self::Malformed(reason) => write!(f, "the branch carries no context: {reason}"),
            Self::TooLong { characters, limit } => write!(
                f,
                "the context has {characters} characters, at most {limit} are allowed: keep large data elsewhere"
            ),
        }
    }
}

impl std::error::Error for ContextError {}

fn take(members: Members, key: &str) -> Option<Json> {
    let mut named = members.into_iter().rev().filter(|(name, _)| name == key);
    named.next().map(|(_, value)| value)
}

fn is_reserved(key: &str) -> bool {
    RESERVED.contains(&key)
}

const ACTION_CONTEXT: &str = "actionContext";
const START_TIME: &str = "action-start-time";
const PREPARE: &str = "sys::prepare";
const COMMIT: &str = "sys::commit";
const ROLLBACK: &str = "sys::rollback";
const ACTION_NAME: &str = "actionName";
const USE_FENCE: &str = "useTCCFence";
const ISOLATION: &str = "isolation";
const HOST_NAME: &str = "host-name";

/// Names that the client uses.
const RESERVED: [&str; 8] = [
    START_TIME,
    PREPARE,
    COMMIT,
    ROLLBACK,
    ACTION_NAME,
    USE_FENCE,
    ISOLATION,
    HOST_NAME,
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Transfer {
        #[serde(rename = "fromAccount")]
        from: String,
        amount: i64,
        note: Option<String>,
    }

    fn transfer() -> Transfer {
        Transfer {
            from: "a".to_owned(),
            amount: 9_007_199_254_740_993,
            note: None,
        }
    }

    fn origin() -> Origin<'static> {
        Origin {
            action: "transfer",
            started_ms: 1_795_351_556_072,
            fenced: true,
            isolation: None,
            host: "192.0.2.2",
        }
    }

    #[test]
    fn the_level_of_isolation_is_javas_number_beside_the_fence() {
        let origin = Origin {
            isolation: Some(2),
            ..origin()
        };
        let document = Document::new(&(), &origin).expect("no arguments");
        let text = document.to_text();
        let beside = r#""useTCCFence":true,"isolation":2,"host-name":"#;
        assert!(text.contains(beside), "{text}");
        assert_eq!(document.get::<i64>("isolation"), Ok(Some(2)));
        assert!(document.is_empty(), "it is no argument");
    }

    #[test]
    fn a_context_is_written_as_java_does_and_read_back() {
        let document = Document::new(&transfer(), &origin()).expect("an object");
        let text = document.to_text();
        assert_eq!(
            text.as_str(),
            r#"{"actionContext":{"fromAccount":"a","amount":9007199254740993,"action-start-time":1795351556072,"sys::prepare":"try","sys::commit":"confirm","sys::rollback":"cancel","actionName":"transfer","useTCCFence":true,"host-name":"192.0.2.2"}}"#
        );
        let read = Document::read(&text).expect("a context");
        assert_eq!(read, document);
        assert_eq!(read.args(), Ok(transfer()));
        assert!(read.is_fenced() && !read.is_empty());
        assert_eq!(read.get::<String>(HOST_NAME), Ok(Some("192.0.2.2".into())));
        assert_eq!(read.get::<u8>("nothing"), Ok(None));
    }

    #[test]
    fn what_is_added_is_kept_and_structures_become_text() {
        let mut document = Document::new(&(), &origin()).expect("nothing");
        assert!(document.is_empty());
        assert_eq!(document.set("hold", &7_u64), Ok(true));
        assert_eq!(document.set("hold", &7_u64), Ok(false), "nothing new");
        assert_eq!(document.set("list", &[1, 2]), Ok(true));
        let text = document.to_text();
        assert!(text.contains(r#""hold":7,"list":"[1,2]"}"#), "{text}");
        let read = Document::read(&text).expect("a context");
        assert_eq!(read.get("hold"), Ok(Some(7_u8)));
        assert_eq!(read.get("list"), Ok(Some(vec![1, 2])));
        let refused = document.set(ACTION_NAME, "x");
        assert_eq!(refused, Err(ContextError::Reserved(ACTION_NAME.to_owned())));
    }

    #[test]
    fn arguments_need_names() {
        for refused in [
            Document::new(&5, &origin()),
            Document::new(&[1], &origin()),
            Document::new(&"text", &origin()),
        ] {
            assert!(
                matches!(refused, Err(ContextError::Arguments(_))),
                "{refused:?}"
            );
        }
        let reserved = std::collections::BTreeMap::from([("host-name", 1)]);
        let refused = Document::new(&reserved, &origin());
        assert_eq!(refused, Err(ContextError::Reserved("host-name".to_owned())));
    }

    #[test]
    fn a_context_has_a_limit() {
        let mut document = Document::new(&(), &origin()).expect("nothing");
        assert_eq!(document.set("text", &"你😀".repeat(100)), Ok(true));
        let characters = document.to_text().chars().count() + 100;
        assert_eq!(document.check_length(characters), Ok(()));
        let limit = characters - 1;
        let refused = Err(ContextError::TooLong { characters, limit });
        assert_eq!(document.check_length(limit), refused);
    }

    #[test]
    fn nothing_is_an_empty_context_and_nonsense_is_none() {
        for text in [
            "",
            "  ",
            "{}",
            "null",
            r#"{"actionContext":null}"#,
            r#"{"other":1}"#,
        ] {
            let document = Document::read(text).expect(text);
            assert!(document.is_empty() && !document.is_fenced(), "{text}");
        }
        for text in [
            "x",
            "[]",
            "5",
            r#"{"actionContext":5}"#,
            "{\"actionContext\":",
        ] {
            let refused = Document::read(text);
            assert!(matches!(refused, Err(ContextError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_class_of_a_single_number_is_no_array() {
        let text = r#"{"actionContext":{"amount":["java.lang.Long",5],"fromAccount":"b"}}"#;
        let args: Transfer = Document::read(text)
            .and_then(|d| d.args())
            .expect("arguments");
        assert_eq!((args.amount, args.from.as_str()), (5, "b"));
    }
}
