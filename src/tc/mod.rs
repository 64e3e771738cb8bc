//! The transaction coordinator: it decides. No I/O of its own; the stores keep what was decided.

pub mod lock;
pub mod store;
