//! The runtime on real sockets: one test per promise of network.md part B.

mod calls;
mod certificates;
mod closing;
mod compression;
mod connecting;
mod draining;
mod embedding;
mod fixture;
mod flow;
mod isolation;
mod lanes;
mod limits;
mod metrics;
mod path;
mod sessions;
mod sockets;
mod time;
mod tls;
mod tls_peers;
mod transports;
mod udp;
mod unix;
mod ws;
