//! The event-loop runtime: sockets, timers, sessions, workers. Knows nothing of Seata, is usable alone.

pub mod wheel;
