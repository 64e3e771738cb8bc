//! The long documentation.
//!
//! | page | for whom |
//! |---|---|
//! | [`guarantees`] | who wants to know what can be relied on |
//! | [`operating`] | who runs a coordinator |
//! | [`sql_store`] | who keeps transactions in MySQL, MariaDB, PostgreSQL or SQLite |
//! | [`runtime`] | who wants the proof of what the runtime claims |
//! | [`cost`] | who counts what a message costs in the runtime |
//! | [`client_cost`] | who counts what a transaction costs the application |
//! | [`encryption`] | who wants connections encrypted, or rotates certificates |
//! | [`websocket`] | who speaks WebSocket |
//! | [`from_getty`] | who used getty and looks for what it had |
//! | [`at_statements`] | who runs SQL inside AT branches |
//! | [`migrating`] | who runs Java coordinators and wants to move, or back |
//! | [`journal_format`] | who reads a journal with a program of their own, or repairs one |

pub mod at_statements;
pub mod client_cost;
pub mod cost;
pub mod encryption;
pub mod from_getty;
pub mod guarantees;
pub mod journal_format;
pub mod migrating;
pub mod operating;
pub mod runtime;
pub mod sql_store;
pub mod websocket;
