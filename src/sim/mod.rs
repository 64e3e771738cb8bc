//! A world made of memory: clock, network and chance, so that one seed reproduces one run step by step.
//!
//! | part | what it stands for |
//! |---|---|
//! | [`Rng`] | all chance |
//! | [`SimClock`] | time, which moves only when nobody has anything to do |
//! | [`Network`], [`SimDriver`] | sockets below a reactor: [`net::Driver`](crate::net::Driver) over memory |
//! | [`Faults`] | what goes wrong, and how often |
//! | [`Plugs`] | byte connections of scripted peers |
//! | `SimClient` | a client of coordinators on such sockets (feature `client`) |
//! | [`SimServer`] | a coordinator's whole server on such sockets |
//! | `kit` | a coordinator for tests of applications (feature `client`) |
//! | [`disk::SimDisk`] | a directory below a journal: what was not synced may be lost, sector by sector |
//!
//! A simulation runs in one thread. [`Network::step`] gives each [`Machine`] (a reactor, a scripted peer) a turn, and
//! moves time to the next event when all of them would sleep. Every decision comes from the seed, nothing from a hash
//! map's order, the wall clock or a thread, and [`Network::trace`] is a hash over all that happened: two runs of one
//! seed have the same.
//!
//! Left out: name resolution, threads. Reactors in it run their lanes inline
//! (`workers.threads = 0`); the driver then chooses their order and splits their batches. Follows network.md B-36.

#[cfg(feature = "client")]
mod client;
mod clock;
pub mod disk;
mod fault;
#[cfg(feature = "client")]
pub mod kit;
mod network;
mod packet;
mod plug;
mod rng;
mod server;
mod transfer;
mod wire;

#[cfg(feature = "client")]
pub use client::SimClient;
pub use clock::SimClock;
pub use fault::{Defect, Faults};
pub use network::{Machine, Network, Progress, SimDriver, SimListener, SimStream};
pub use packet::SimDatagram;
pub use plug::{News, Plugs};
pub use rng::Rng;
pub use server::SimServer;
