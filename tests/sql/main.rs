//! The store on real databases (coordinator.md 4.2, 4.3).
//!
//! SQLite always; MariaDB and PostgreSQL when `SEAMIO_MYSQL_URL` and `SEAMIO_POSTGRES_URL` name servers in which databases may be
//! created, as `tests/databases/run up` prints them. Without them those tests say that they are skipped.

#[macro_use]
mod place;
mod agreement;
mod failures;
// The other stores' tests use more of these two.
#[allow(dead_code)]
#[path = "../store/history.rs"]
mod history;
mod java;
mod life;
#[allow(dead_code)]
#[path = "../store/model.rs"]
mod model;
mod odd;
mod proxy;
mod schema;
mod siblings;
