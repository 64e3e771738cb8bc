//! A whole client in a simulated network: the application's side without its thread.
//!
//! What the application awaits is polled by the simulation, between its steps. Dropping the machine is what `kill -9` does
//! to the process: sockets close, nothing is finished, and whoever still holds a handle is told that the client is closed.

use std::io;

use super::{Machine, Network, SimClock, SimDriver};
use crate::client::{Assembled, Background, Error, Seata, SeataBuilder};
use crate::net::{Config, Reactor};

/// A client that is a [`Machine`] of a [`Network`].
pub struct SimClient {
    assembled: Option<Machinery>,
}

struct Machinery {
    turn: Box<dyn FnMut() -> io::Result<bool> + Send>,
    end: Box<dyn FnOnce() + Send>,
}

impl SimClient {
    /// Puts a client on a machine of its own. Nothing waits for a first coordinator, whatever the options say. Give the
    /// options a seed, so that a run can be repeated.
    ///
    /// # Errors
    /// As [`SeataBuilder::build`], for what cannot be used.
    pub fn build(
        builder: SeataBuilder,
        network: &Network,
    ) -> Result<(Self, Seata, Background), Error> {
        let driver = network.driver();
        let clock = network.clock();
        let assembled = builder.assemble(
            || 0,
            |config: Config, wire| {
                Reactor::<_, SimDriver, SimClock>::with(config, wire, driver, clock)
                    .map_err(|error| Error::Invalid(format!("the client cannot start: {error}")))
            },
        )?;
        let Assembled {
            mut reactor,
            started,
            inbox,
            jobs,
        } = assembled;
        let machinery = Machinery {
            turn: Box::new(move || reactor.turn()),
            end: Box::new(move || {
                inbox.close();
                jobs.close();
            }),
        };
        let client = Self {
            assembled: Some(machinery),
        };
        Ok((client, started.seata, started.background))
    }
}

impl Machine for SimClient {
    fn turn(&mut self) -> io::Result<bool> {
        match &mut self.assembled {
            Some(machinery) => (machinery.turn)(),
            None => Ok(false),
        }
    }
}

impl Drop for SimClient {
    fn drop(&mut self) {
        if let Some(Machinery { turn, end }) = self.assembled.take() {
            // The reactor first: what it still tells the lane is heard by nobody.
            drop(turn);
            end();
        }
    }
}
