//! A whole server in a simulated network: reactor, lane, coordinator and a store that the simulation brings.
//!
//! It is the server of [`tc::server`](crate::tc::server) without threads: the lane runs on the reactor, the store's syncs
//! are the simulation's affair. Dropping it is what `kill -9` does to the process: sockets close, nothing is finished.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Machine, Network, SimClock, SimDriver};
use crate::net::Clock;
use crate::tc::server::edge::Wake;
use crate::tc::server::lane::WallClock;
use crate::tc::server::{Assembly, Error, ServerConfig, Stopped};
use crate::tc::store::Store;

/// A server that is a [`Machine`] of a [`Network`].
pub struct SimServer {
    assembly: Assembly<SimDriver, SimClock>,
    wake: Arc<Wake>,
}

impl SimServer {
    /// Recovers what is in `store` and listens on a machine of its own. Its wall clock shows `wall_ms` (ms since 1970) now.
    ///
    /// # Errors
    /// As [`Server::bind`](crate::tc::server::Server::bind); the store and the number of workers in `config` do not count.
    pub fn bind(
        config: &ServerConfig,
        store: Box<dyn Store>,
        network: &Network,
        wall_ms: u64,
    ) -> Result<Self, Error> {
        let wake = Arc::new(Wake::default());
        let clock = network.clock();
        let now = clock.now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms);
        let time = (WallClock::new(now, wall), now);
        let config = ServerConfig {
            workers: 0,
            ..config.clone()
        };
        let driver = network.driver();
        let assembly = Assembly::new(&config, store, wake.clone(), driver, clock, time)?;
        Ok(Self { assembly, wake })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.assembly.address
    }

    /// The store got further: what its sync thread would say.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// How it ended, once; None while it serves. After that it is to be dropped.
    pub fn outcome(&self) -> Option<Result<Stopped, String>> {
        self.assembly.outcome()
    }
}

impl Machine for SimServer {
    fn turn(&mut self) -> io::Result<bool> {
        self.assembly.reactor.turn()
    }
}
