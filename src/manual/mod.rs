//! The long documentation.
//!
//! | page | for whom |
//! |---|---|
//! | [`journal_format`] | who reads a journal with a program of their own, or repairs one |

pub mod journal_format;
