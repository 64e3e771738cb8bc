//! The application's side of global transactions: connections to the coordinators, TM and RM.
//!
//! | module | what lives there |
//! |---|---|
//! | `at` | local transactions on the host's own connections that can be undone (features `mysql`, `postgres`, `sqlite`) |
//! | [`resource`] | what a resource manager offers the coordinator, and what it is asked to do |
//!
//! The client brings no async runtime: its futures work with any executor, and what has to run in the background is a future
//! that the host spawns. Its sockets live on a reactor of [`crate::net`] with a thread of its own.
//!
//! Follows client.md.

#[cfg(feature = "sql")]
pub mod at;
pub mod resource;
