//! `seamio schema`: the tables of the SQL store.

use clap::{Args, Subcommand};

use super::Exit;

/// Arguments of `seamio schema`.
#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the definitions of all tables and connects to nothing
    #[command(disable_help_flag = true)]
    Print(Definitions),
    /// Makes the tables, columns, indexes and rows that are missing; never drops, narrows or rewrites anything. Exit
    /// code 1 when something is left that keeps a coordinator from working
    #[command(disable_help_flag = true)]
    Apply(Place),
}

#[derive(Debug, Args)]
struct Definitions {
    /// mysql, postgres, sqlite, or a URL of one of them
    #[arg(value_name = "URL|DATABASE")]
    database: Secret,
}

#[derive(Debug, Args)]
struct Place {
    /// mysql://USER:PASSWORD@HOST:PORT/DATABASE, postgres://…, sqlite://FILE
    #[arg(value_name = "URL")]
    url: Secret,
}

/// A text that may hold a password: it is not shown.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Prints definitions, or completes the tables of a database.
#[cfg(feature = "sql-store")]
pub(super) fn run(arguments: &SchemaArguments) -> Exit {
    match &arguments.action {
        Action::Print(definitions) => with_store::print(&definitions.database.0),
        Action::Apply(place) => with_store::apply(&place.url.0),
    }
}

/// Says that this build has none.
#[cfg(not(feature = "sql-store"))]
pub(super) fn run(arguments: &SchemaArguments) -> Exit {
    let (Action::Print(Definitions { database: text }) | Action::Apply(Place { url: text })) =
        &arguments.action;
    // The same text for every place, which is not repeated.
    let _ = &text.0;
    eprintln!("seamio: {}", crate::config::WITHOUT_SQL);
    Exit::Usage
}

#[cfg(feature = "sql-store")]
mod with_store {
    use std::io::{self, Write};

    use super::Exit;
    use crate::tc::store::sql::DatabaseUrl;
    use crate::tc::store::sql::schema::{apply_to, script};

    pub(super) fn print(database: &str) -> Exit {
        match script(database) {
            Ok(text) => {
                // A reader that went away, as `head` does, wants no more.
                let _ = io::stdout().write_all(text.as_bytes());
                Exit::Done
            }
            Err(problem) => wrong(&problem),
        }
    }

    pub(super) fn apply(url: &str) -> Exit {
        let url = match DatabaseUrl::parse(url) {
            Ok(url) => url,
            Err(problem) => return wrong(&problem),
        };
        let applied = match apply_to(&url) {
            Ok(applied) => applied,
            Err(error) => {
                eprintln!("seamio: {url}: {error}");
                return Exit::Store;
            }
        };
        let mut stdout = io::stdout();
        for table in &applied.tables {
            // As above.
            let _ = writeln!(stdout, "{table}");
        }
        for warning in &applied.warnings {
            eprintln!("seamio: warning: {warning}");
        }
        for problem in &applied.left {
            eprintln!("seamio: {problem}");
        }
        match applied.left.is_empty() {
            true => Exit::Done,
            false => Exit::Failed,
        }
    }

    fn wrong(problem: &str) -> Exit {
        eprintln!("seamio: {problem}");
        Exit::Usage
    }
}
