//! What becomes of each kind of statement inside an AT branch.
//!
//! Inside a branch every statement that may write is either undone exactly when the global transaction is rolled back, or not
//! run at all: what is not understood is refused, with an error that says why. Statements are read as text before they are
//! sent, by `client::at::statement` (features `mysql`, `postgres`, `sqlite`).
//!
//! | word | what it means |
//! |---|---|
//! | undone | images of the rows are kept, their global locks are taken, a rollback restores the rows |
//! | checked | the global locks of its rows are asked for; nothing has to be undone |
//! | passes | it only reads, or sets something of the session; neither images nor locks |
//! | followed | undo records behind a savepoint are dropped with it |
//! | refused | it is not run. Outside of a branch, or past it with `bypass()`, it can be |
//! | – | the database has no such statement |
//!
//! The examples are about a table `stock` with the counted primary key `id`, the unique column `sku` and the columns `qty`,
//! `price`, `note` and `changed`. The table is made by the tests, by asking the code.
//!
#![doc = include_str!("at_statements.md")]
//!
//! # What is not seen
//!
//! - A function called in a query, or in any other statement, may write: its name does not say so.
//! - Triggers and cascading foreign keys write rows that no statement names; they are not restored.
//! - Reads with FOR SHARE take no global lock. What a plain SELECT shows may still be rolled back.
//! - Conditions with the time of day (`NOW()`): MySQL asks the clock once for the image and once for the statement. When the
//!   numbers of rows differ the statement is an error; bind the time as a parameter to rule that out.
//! - MySQL's ON DUPLICATE KEY UPDATE also meets rows by way of unique indexes over expressions or the beginnings of columns. Rows
//!   are looked for by indexes over whole columns; when more rows change than were found, the statement is an error.
//!
//! # Settings of the session
//!
//! Text is read as the databases read it by default: MySQL without `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`, PostgreSQL with
//! `standard_conforming_strings`. The BEGIN of a branch carries a query that fails where these and other settings are not as they
//! have to be: character sets, forms of values, the time zone, the database and the schemas that are searched have to be those
//! of the pool, since undo runs on it. The branch is then refused with an error that names the setting. With another time zone
//! than UTC on all of its connections, MySQL's tables with TIMESTAMP columns are refused: an hour may come twice.
