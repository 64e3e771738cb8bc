//! Actions in TCC mode against a real coordinator in the same process: every phase and its order, the fence on every database that
//! is there, and contexts that Java's clients wrote.
//!
//! SQLite is always there; `tests/databases/run` starts the servers that `SEAMIO_MYSQL_URL` and `SEAMIO_POSTGRES_URL` name.

mod bank;
mod databases;
mod fence;
mod fixture;
mod hooks;
mod kit;
mod phases;
mod vectors;
