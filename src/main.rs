//! The `seamio` binary: arguments, configuration, signals, start.
fn main() {}
