//! The store on MySQL, MariaDB, PostgreSQL or SQLite, which several coordinators may share, also with Java's.

mod connection;
mod dialect;

pub use connection::DatabaseUrl;
