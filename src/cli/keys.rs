//! `seamio config`, and how configuration errors and warnings reach the user.

use std::fmt::Write;

use super::{ConfigArguments, Exit};
use crate::config::{Error, Flag, KEYS, Settings, Source};

/// Settings from flags, this process's environment and a configuration file.
pub(super) fn load(flags: &[Flag], config: Option<&str>) -> Result<Settings, Error> {
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let variable = variables
        .iter()
        .find(|(name, value)| name == "SEAMIO_CONFIG" && !value.is_empty());
    let path = config.or(variable.map(|(_, path)| path.as_str()));
    let text = path.map(read).transpose()?;
    Settings::resolve(flags, &variables, path.zip(text.as_deref()))
}

/// Prints every key with its value, its source and its meaning.
pub(super) fn list(arguments: &ConfigArguments) -> Exit {
    let settings = match load(&[], arguments.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return wrong(&error),
    };
    for warning in settings.warnings() {
        eprintln!("seamio: {warning}");
    }
    let mut text = String::new();
    for (key, value, source) in settings.iter() {
        let from = match source {
            Source::Default => String::new(),
            source => format!("   (from {source}, default {})", shown(key.default)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} = {value}{from}", key.name);
        let _ = writeln!(text, "    {} [{}]", key.meaning, key.kind.describe());
        let flag = key.flag.map_or(String::new(), |flag| format!("--{flag}, "));
        let java: String = key
            .env_also
            .iter()
            .map(|name| format!(", {name}"))
            .collect();
        let _ = writeln!(text, "    {flag}{}{java}", key.env());
    }
    print!("{text}");
    Exit::Done
}

/// The names and variables of all keys, for `--help`.
pub(super) fn help() -> String {
    let mut text = String::from(
        "Configuration keys, for the file and, in capitals, for the environment (a flag comes before the environment, \
         that before the file; `seamio config` explains each):\n",
    );
    for key in KEYS {
        let _ = writeln!(
            text,
            "  {} = {}\n      {}",
            key.name,
            shown(key.default),
            key.env()
        );
    }
    text
}

/// Tells what is wrong with the configuration.
pub(super) fn wrong(error: &Error) -> Exit {
    eprintln!("seamio: {error}");
    Exit::Usage
}

fn read(path: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error {
        place: path.to_string(),
        key: None,
        problem: format!("cannot be read: {error}"),
    })
}

fn shown(default: &str) -> &str {
    if default.is_empty() { "\"\"" } else { default }
}
