//! The command line: what each command takes, and what its exit code means (design.md 9).
//!
//! `-h` keeps the meaning that it has in Seata's scripts, the address announced to clients; help is `--help` alone.

mod bench;
mod journal;
mod keys;
mod schema;
mod serve;

use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};

use self::bench::BenchArguments;
use self::journal::JournalArguments;
use self::schema::SchemaArguments;
use self::serve::ServeArguments;

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; everything else is wrong usage. Nothing is left to do when the
            // terminal is gone.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    let exit = match cli.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Config(arguments) => keys::list(&arguments),
    };
    exit.into()
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// A check failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Stopped with undecided transactions left; all are durable.
    Undecided = 3,
    /// The store failed.
    Store = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "seamio",
    version,
    about = "Distributed transactions that speak Seata's wire protocol"
)]
#[command(
    disable_help_flag = true,
    disable_help_subcommand = true,
    max_term_width = 120
)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    /// Prints help
    #[arg(long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the coordinator until it is told to stop
    #[command(disable_help_flag = true, after_long_help = keys::help())]
    Serve(ServeArguments),
    /// Puts load on a coordinator, measures it and checks what it promised
    #[command(disable_help_flag = true)]
    Bench(BenchArguments),
    /// Looks at a journal and changes nothing
    #[command(disable_help_flag = true)]
    Journal(JournalArguments),
    /// The tables of the SQL store: prints them, or makes what is missing
    #[command(disable_help_flag = true)]
    Schema(SchemaArguments),
    /// Lists the configuration keys with their values; exit code 2 if one is wrong
    #[command(disable_help_flag = true)]
    Config(ConfigArguments),
}

/// Arguments of `seamio config`.
#[derive(Debug, Args)]
struct ConfigArguments {
    /// Configuration file (TOML); also SEAMIO_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a check failed, 2 wrong usage or configuration, \
                          3 stopped with undecided transactions left (all durable), 4 the store failed";
