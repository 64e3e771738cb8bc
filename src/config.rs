//! Configuration: keys from flags, the environment, a file and defaults, in this order, checked before anything starts.
//!
//! [`KEYS`] is the one table of keys. [`Settings::resolve`] finds the value of each and where it came from; a wrong key
//! or value is an [`Error`] that names the key and the place (flag, variable, or file and line). What Seata knows and a
//! seamio server has no use for is a warning (coordinator.md 7).

#[cfg(feature = "sql-store")]
mod database;
mod file;
mod keys;
mod serving;
mod value;

use std::fmt;
use std::time::Duration;

pub use keys::{IGNORED, Ignored, KEYS, Key};
pub use serving::Serving;
pub use value::{Guarded, Kind, Value};

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// A flag, a variable, or a file with a line.
    pub place: String,
    /// The key as it was written, if it is about one.
    pub key: Option<String>,
    /// What is wrong and what was expected.
    pub problem: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A file and a line in it.
    File(String, usize),
    /// An environment variable.
    Variable(String),
    /// A flag, as it was spelled.
    Flag(&'static str),
}

/// A value given by a flag.
#[derive(Clone)]
pub struct Flag {
    /// How it was spelled: `--port`, `-h`.
    pub spelling: &'static str,
    /// The key it sets.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// The value of every key with its source, and what the user should know.
#[derive(Clone, Debug)]
pub struct Settings {
    values: Vec<(Value, Source)>,
    warnings: Vec<String>,
}

impl Settings {
    /// Takes each key from the flags, else the variables, else the file (its path and text), else the default.
    pub fn resolve(
        flags: &[Flag],
        variables: &[(String, String)],
        file: Option<(&str, &str)>,
    ) -> Result<Self, Error> {
        let mut settings = Self {
            values: KEYS.iter().map(default_value).collect(),
            warnings: Vec::new(),
        };
        if let Some((path, text)) = file {
            settings.take_file(path, text)?;
        }
        settings.take_variables(variables)?;
        for flag in flags {
            let at = keys::find(flag.key).expect("flags name known keys");
            settings.set(at, &flag.value, Source::Flag(flag.spelling), flag.key)?;
        }
        Ok(settings)
    }

    /// What has no effect, and why.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Each key with its value and source, in the order of [`KEYS`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, &Value, &Source)> {
        KEYS.iter()
            .zip(&self.values)
            .map(|(key, (value, source))| (key, value, source))
    }

    /// Where the value of a key came from.
    pub fn source(&self, name: &str) -> &Source {
        &self.values[position(name)].1
    }

    /// A text; None when it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Value::Text(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            Value::Guarded(text) => Some(text.revealed()).filter(|text| !text.is_empty()),
            other => unreachable!("{name} is {other:?}"),
        }
    }

    /// A number, in the range of its key.
    pub fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Number(number) => *number,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    /// A number that is a size or a count of things in memory.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).expect("the range of a size begins at 0")
    }

    /// A switch.
    pub fn is_on(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Switch(on) => *on,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    /// A time that has an end.
    pub fn time(&self, name: &str) -> Duration {
        self.time_or_forever(name)
            .expect("only keys with an end are asked this way")
    }

    /// A time; None is for ever.
    pub fn time_or_forever(&self, name: &str) -> Option<Duration> {
        match self.value(name) {
            Value::Time(time) => *time,
            other => unreachable!("{name} is {other:?}"),
        }
    }

    /// An error about the value of a key, with its place.
    pub fn refuse(&self, name: &str, problem: impl Into<String>) -> Error {
        Error {
            place: self.source(name).to_string(),
            key: Some(name.to_string()),
            problem: problem.into(),
        }
    }

    fn value(&self, name: &str) -> &Value {
        &self.values[position(name)].0
    }

    fn set(&mut self, at: usize, text: &str, source: Source, written: &str) -> Result<(), Error> {
        let value = KEYS[at].kind.parse(text).map_err(|problem| Error {
            place: source.to_string(),
            key: Some(written.to_string()),
            problem,
        })?;
        self.values[at] = (value, source);
        Ok(())
    }

    fn take_file(&mut self, path: &str, text: &str) -> Result<(), Error> {
        for entry in file::parse(path, text)? {
            let source = Source::File(path.to_string(), entry.line);
            if let Some(at) = keys::find(&entry.key) {
                self.set(at, &entry.value, source, &entry.key)?;
            } else if let Some(ignored) = keys::ignored(&entry.key) {
                self.warnings.push(format!(
                    "{source}: {} has no effect: {}",
                    entry.key, ignored.reason
                ));
            } else {
                let near = keys::nearest(&entry.key);
                return Err(Error {
                    place: source.to_string(),
                    problem: match near {
                        Some(name) => format!("no such key; did you mean {name}?"),
                        None => "no such key; `seamio config` lists them".to_string(),
                    },
                    key: Some(entry.key),
                });
            }
        }
        Ok(())
    }

    /// Variables of Seata's images first, so that ours override them.
    fn take_variables(&mut self, variables: &[(String, String)]) -> Result<(), Error> {
        for (at, key) in KEYS.iter().enumerate() {
            let own = key.env();
            for name in key.env_also.iter().copied().rev().chain([own.as_str()]) {
                let found = variables.iter().find(|(variable, _)| variable == name);
                let Some((_, value)) = found.filter(|(_, value)| !value.trim().is_empty()) else {
                    continue;
                };
                if is_service_link(name, value) {
                    self.warnings.push(format!(
                        "environment variable {name} has no effect: \"{value}\" is the link that Kubernetes \
                         makes for a service of that name"
                    ));
                    continue;
                }
                self.set(at, value, Source::Variable(name.to_string()), key.name)?;
            }
        }
        for (name, _) in variables {
            let known = |key: &Key| key.env() == *name || key.env_also.contains(&name.as_str());
            let other =
                OTHER_VARIABLES.contains(&name.as_str()) || name.starts_with("SEAMIO_PORT_");
            if name.starts_with("SEAMIO_") && !other && !KEYS.iter().any(known) {
                self.warnings
                    .push(format!("environment variable {name} is no key"));
            }
        }
        Ok(())
    }
}

/// Without the value, which may hold a password.
impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.spelling, self.key)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(spelling) => write!(f, "flag {spelling}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key}: {}", self.place, self.problem),
            None => write!(f, "{}: {}", self.place, self.problem),
        }
    }
}

impl std::error::Error for Error {}

fn default_value(key: &Key) -> (Value, Source) {
    (
        key.kind
            .parse(key.default)
            .expect("a test parses every default"),
        Source::Default,
    )
}

fn position(name: &str) -> usize {
    KEYS.iter()
        .position(|key| key.name == name)
        .unwrap_or_else(|| panic!("{name} is no key"))
}

/// Of a build that cannot do it.
#[cfg(not(feature = "sql-store"))]
pub(crate) const WITHOUT_SQL: &str =
    "this build has no SQL store (feature sql-store); use journal (durable, no database) or memory";

/// Kubernetes sets `NAME_PORT=tcp://…` for each service, so a service called seamio would set our port.
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_PORT") && value.contains("://")
}

/// Variables that start like ours and are no keys: the file, the tests, and service links of Kubernetes.
const OTHER_VARIABLES: &[&str] = &[
    "SEAMIO_CONFIG",
    "SEAMIO_CRASH_CYCLES",
    "SEAMIO_CRASH_SEED",
    "SEAMIO_MYSQL_URL",
    "SEAMIO_POSTGRES_URL",
    "SEAMIO_SERVICE_HOST",
    "SEAMIO_SERVICE_PORT",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    fn flag(spelling: &'static str, key: &'static str, value: &str) -> Flag {
        Flag {
            spelling,
            key,
            value: value.to_string(),
        }
    }

    #[test]
    fn flag_then_environment_then_file_then_default() {
        let file = Some((
            "f",
            "server.servicePort = 1\nserver.host = 'a'\nserver.node = '3'\n",
        ));
        let env = variables(&[
            ("SEAMIO_PORT", "2"),
            ("SEATA_PORT", "4"),
            ("SEAMIO_HOST", "b"),
            ("SERVER_NODE", "5"),
        ]);
        let flags = [flag("-p", "server.service-port", "3")];
        let settings = Settings::resolve(&flags, &env, file).expect("valid");
        assert_eq!(settings.number("server.service-port"), 3);
        assert_eq!(settings.source("server.service-port"), &Source::Flag("-p"));
        assert_eq!(settings.text("server.host"), Some("b"));
        assert_eq!(settings.text("server.node"), Some("5"));
        assert_eq!(settings.text("store.mode"), Some("journal"));
        assert_eq!(settings.source("store.mode"), &Source::Default);
        assert!(settings.warnings().is_empty(), "{:?}", settings.warnings());
        let settings = Settings::resolve(&[], &env, file).expect("valid");
        assert_eq!(
            settings.number("server.service-port"),
            2,
            "ours before Seata's"
        );
    }

    #[test]
    fn errors_name_key_and_place() {
        let of = |file: &str| Settings::resolve(&[], &[], Some(("f.toml", file))).expect_err(file);
        let error = of("[server]\nmaxCommitRetryTimeout = 'soon'\n");
        assert_eq!(error.place, "f.toml:2");
        assert_eq!(error.key.as_deref(), Some("server.maxCommitRetryTimeout"));
        assert!(
            of("\nserver.hots = 'x'\n")
                .to_string()
                .starts_with("f.toml:2: server.hots: no such key")
        );
        let env = variables(&[("SEAMIO_WORKERS", "many")]);
        let error = Settings::resolve(&[], &env, None).expect_err("no number");
        assert_eq!(error.place, "environment variable SEAMIO_WORKERS");
        let flags = [flag("--port", "server.service-port", "65536")];
        let error = Settings::resolve(&flags, &[], None).expect_err("out of range");
        assert_eq!(error.place, "flag --port");
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let env = variables(&[
            ("SEAMIO_PORT", "tcp://10.0.0.7:8091"),
            ("SEAMIO_PORT_8091_TCP", "tcp://10.0.0.7:8091"),
            ("SEAMIO_PROT", "1"),
            ("SEAMIO_HOST", ""),
        ]);
        let file = "store.db.maxConn = 100\nseata.server.enableCheckAuth = true\n";
        let settings = Settings::resolve(&[], &env, Some(("f", file))).expect("valid");
        let warnings = settings.warnings();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings[0].starts_with("f:1: store.db.maxConn has no effect"));
        assert!(warnings[3].contains("SEAMIO_PROT is no key"));
        assert_eq!(settings.number("server.service-port"), 8091);
    }
}
