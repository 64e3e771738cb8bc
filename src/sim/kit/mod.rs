//! A test kit for applications: a coordinator in the test's own process, without ports, with a clock that the test moves and
//! faults that the test orders.
//!
//! Clients built by [`Kit::client`] are real ones: their connections, retries and time limits work as ever, only that their
//! network is memory and their clock stands still until [`Kit::advance`]. So a timeout of a minute is tested in a moment, and
//! what happens does not depend on how busy the machine is.
//!
//! ```
//! use std::time::Duration;
//! use seamio::client::{Outcome, Seata, TxOptions, wait};
//! use seamio::sim::kit::{Asked, Fault, Kit};
//!
//! let kit = Kit::start()?;
//! let (seata, background) = wait(kit.client(Seata::builder().application("shop")))?;
//! // Second phases run where the test wants them; a test on tokio spawns this.
//! std::thread::spawn(move || wait(background));
//!
//! // The answer of the next commit is lost: the client asks again after a while, and learns what became of it.
//! kit.next(Asked::Commit, Fault::LoseAnswer);
//! let tx = wait(seata.begin(TxOptions::new("order")))?;
//! let commit = std::thread::spawn(move || wait(tx.commit()));
//! kit.wait_for(Asked::Commit, 1);
//! kit.advance(Duration::from_secs(60));
//! assert!(matches!(commit.join().expect("no panic"), Outcome::Committed { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Time
//!
//! The clock of coordinator and clients stands still. [`Kit::advance`] moves it from one timer to the next; between two it lets
//! everything happen that follows, and waits while a second phase is worked on. What the application does meanwhile on its own
//! threads takes no time at all. The application's own timers, and those of its database, are not the kit's.
//!
//! # Left out
//!
//! More than one coordinator, restarts of it, and faults below messages: [`super::Network`] has those.

mod coordinator;
mod history;
mod script;
mod stage;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Faults, Network};
use crate::client::{Background, Error, Seata, SeataBuilder};
use history::History;
pub use history::{Entry, Fate};
use script::Script;
pub use script::{Asked, Fault};
use stage::Stage;

/// A coordinator for tests. Ends with its clients' connections when dropped.
pub struct Kit {
    network: Network,
    stage: Stage,
    script: Arc<Script>,
    history: Arc<History>,
    address: String,
}

impl Kit {
    /// Starts a coordinator without transactions, on a thread that turns everything in the kit.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let network = Network::new(SEED, instant_network());
        let script = Arc::new(Script::default());
        let history = Arc::new(History::default());
        let (coordinator, address) = coordinator::start(&network, &script, &history)?;
        let stage = Stage::start(&network, &history)?;
        stage.add(Box::new(coordinator));
        Ok(Self {
            network,
            stage,
            script,
            history,
            address,
        })
    }

    /// Builds a client of this coordinator; the builder's own registry does not count. The future that comes with it runs the
    /// second phases, on whatever executor the test uses.
    ///
    /// # Errors
    /// As [`SeataBuilder::build`].
    pub async fn client(&self, builder: SeataBuilder) -> Result<(Seata, Background), Error> {
        let registry = crate::client::File::new([self.address.as_str()]);
        let builder = builder.registry(registry);
        let (unturned, started) = builder.build_on(self.network.driver(), self.network.clock())?;
        self.stage.add(Box::new(unturned));
        started.ready().await
    }

    /// Orders a fault for the next request of a kind that has none yet. Several for one kind meet one request each.
    pub fn next(&self, asked: Asked, fault: Fault) {
        self.script.order(asked, fault);
    }

    /// Faults that were ordered and have not happened.
    pub fn faults_left(&self) -> usize {
        self.script.left()
    }

    /// Moves the clock, and returns when coordinator and clients have done what there was to do until then.
    ///
    /// A second phase that the application works on is waited for, a few seconds at most: one that never ends is what a test
    /// may want.
    pub fn advance(&self, by: Duration) {
        self.stage.advance(by);
    }

    /// Time since the start, as coordinator and clients know it.
    pub fn now(&self) -> Duration {
        self.network.clock().elapsed()
    }

    /// Ends every connection at once. Clients connect again by themselves, after a pause: see [`Kit::advance`].
    pub fn kill_connections(&self) {
        self.script.kill_all();
        self.stage.wake();
    }

    /// What was asked and answered so far, in order. Registrations of clients and heartbeats are left out.
    pub fn history(&self) -> Vec<Entry> {
        self.history.entries()
    }

    /// Blocks until the coordinator was asked (or, for second phases, has asked) so often, faulty or not. For the thread of a
    /// test, while others do the asking.
    ///
    /// # Panics
    /// After a minute, with the history so far.
    #[track_caller]
    pub fn wait_for(&self, asked: Asked, times: usize) {
        self.history.wait_for(asked, times);
    }
}

/// What is sent arrives at once.
fn instant_network() -> Faults {
    Faults {
        latency_min: Duration::ZERO,
        latency_max: Duration::ZERO,
        ..Faults::none()
    }
}

const SEED: u64 = 1;
