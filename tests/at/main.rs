//! AT on real databases against a coordinator in the same process: what a rollback puts back, what a commit leaves, and what is
//! kept out (client.md 3, 5 and 10); and against one that is killed, as the services are.
//!
//! SQLite always; MariaDB and PostgreSQL when `SEAMIO_MYSQL_URL` and `SEAMIO_POSTGRES_URL` name servers in which databases may be
//! created, as `tests/databases/run up` prints them. Without them those tests say that they are skipped.

mod bank;
#[macro_use]
mod database;
mod cuts;
mod ends;
mod fixture;
mod kinds;
mod locks;
#[path = "../peer/mod.rs"]
mod peer;
mod sessions;
mod trouble;
mod types;
