//! The application's side against a real coordinator in the same process, and against scripted ones that answer oddly.

mod branches;
mod endings;
mod failures;
mod fixture;
mod script;
mod simulated;
mod transactions;
