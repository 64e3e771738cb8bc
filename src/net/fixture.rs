//! The least application there can be, for unit tests of parts that are generic over one. It decodes nothing and sends
//! nothing; what a test wants to see it looks up in the part itself.

use std::sync::Arc;
use std::time::Instant;

use super::address::Address;
use super::codec::{Codec, Decoded, Input, Output};
use super::config::{Limits, SessionConfig, Workers};
use super::driver::{Clock, Monotonic};
use super::endpoint::{Origin, Peer};
use super::error::CodecError;
use super::handler::{Cx, Handler};
use super::id::{LaneId, ListenerId};
use super::lane::{LaneTable, Lanes};
use super::remote::Remote;
use super::session::Session;
use super::shared::Shared;
use super::slots::Key;
use super::wake::{self, Consumer};
use super::wheel::Tick;

/// The application, and its codec.
pub(crate) struct Mute;

impl Codec for Mute {
    type In = ();
    type Out = ();
    type State = ();

    fn open(&self, _: &Peer) {}

    fn decode(&self, _: &mut (), _: &mut Input<'_>) -> Result<Decoded<()>, CodecError> {
        Ok(Decoded::Need(1))
    }

    fn encode(&self, _: &(), _: &mut Output<'_>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl Handler for Mute {
    type Codec = Mute;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &Mute {
        self
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) {}

    fn on_message(&self, _: &mut Cx<'_, Self>, _: &Session<Self>, (): ()) {}
}

/// What a reactor shares with its handles, and the end of the queue that it would hold.
pub(crate) fn shared(
    workers: &Workers,
    limits: Limits,
) -> (Arc<Shared<Mute>>, Consumer<Remote<Mute>>) {
    let (producer, consumer) = wake::queue(usize::MAX, Arc::new(|| {}));
    let table = Arc::new(LaneTable::new(workers, &limits, producer.clone()));
    let epoch: Instant = Monotonic.now();
    let shared = Shared::new(Mute, producer, table, limits, epoch);
    (Arc::new(shared), consumer)
}

/// The handle of a session opened at the epoch.
pub(crate) fn session(shared: &Arc<Shared<Mute>>, key: Key) -> Session<Mute> {
    let address = Address::from(([127, 0, 0, 1], 1));
    let peer = Peer {
        #[cfg(feature = "ws")]
        ws: None,
        #[cfg(feature = "tls")]
        tls: None,
        remote: address.clone(),
        local: address,
        credentials: None,
        origin: Origin::Accepted(ListenerId(0)),
    };
    let config = SessionConfig::default();
    let shared = Arc::clone(shared);
    Session::new(key.session(), peer, "test".into(), shared, &config, Tick(0))
}
