//! `seamio journal`: looks at a journal and changes nothing.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Exit;
use crate::tc::store::journal::{OpenError, Report, inspect, verify};

/// Arguments of `seamio journal`.
#[derive(Debug, Args)]
pub(super) struct JournalArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists segments, records and live transactions
    #[command(disable_help_flag = true)]
    Inspect(Directory),
    /// Reads everything as a start would; exit code 1 with file and offset when it is damaged
    #[command(disable_help_flag = true)]
    Verify(Directory),
}

#[derive(Debug, Args)]
struct Directory {
    /// Directory of the journal
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

/// Looks at a journal.
pub(super) fn run(arguments: &JournalArguments) -> Exit {
    let (directory, result) = match &arguments.action {
        Action::Inspect(directory) => {
            let mut out = BufWriter::new(io::stdout().lock());
            let result = inspect(&directory.path, &mut out);
            // A reader that went away, as `head` does, wants no more.
            let _ = out.flush();
            (directory, result)
        }
        Action::Verify(directory) => (directory, verify(&directory.path)),
    };
    match result {
        Ok(report) => {
            println!("{}", summary(&report));
            Exit::Done
        }
        Err(error) => {
            eprintln!("seamio: {}: {error}", directory.path.display());
            match error {
                OpenError::Damage(_) | OpenError::Newer { .. } => Exit::Failed,
                _ => Exit::Usage,
            }
        }
    }
}

fn summary(report: &Report) -> String {
    format!(
        "sound: {} records in {} frames of {} segments, snapshot at {}; {} transactions, {} branches, {} locked rows, \
         {} tombstones, highest id {}{}",
        report.last,
        report.frames,
        report.segments,
        report.snapshot,
        report.globals,
        report.branches,
        report.locks,
        report.tombstones,
        report.highest_id,
        if report.torn {
            "; a torn write at the end will be cut off"
        } else {
            ""
        }
    )
}
