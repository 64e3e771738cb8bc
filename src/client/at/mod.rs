//! AT mode: local transactions on the host's own sqlx connections that can be undone after they were committed.
//!
//! | module | what lives there |
//! |---|---|
//! | [`meta`] | what a table looks like: columns, keys, JDBC type numbers |
//!
//! Follows client.md 3, 4 and 5.

pub mod meta;
