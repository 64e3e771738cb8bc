//! Requests of ours that wait for their replies (network.md B.27).

use super::{Connection, Waiting, complete};
use crate::net::driver::Stream;
use crate::net::engine::{Engine, Timer};
use crate::net::error::{CloseReason, Error};
use crate::net::handler::{Handler, In};
use crate::net::remote::{Call, Payload};

impl<H: Handler, S: Stream> Connection<H, S> {
    /// Queues a request and waits for its reply.
    pub(crate) fn accept_call(
        &mut self,
        engine: &mut Engine<H>,
        payload: Payload,
        call: Call<In<H>>,
    ) {
        if !self.out.open {
            self.uncount(&payload);
            let reason = self.life.closed().unwrap_or(engine.default_reason());
            return complete(engine, call.completion, Err(Error::Closed(reason)));
        }
        let refused = if !self.life.receives() {
            // Only with half-close: it may still read, but it cannot answer.
            Some(Error::Closed(CloseReason::Peer))
        } else if self.calls.contains_key(&call.id) {
            Some(Error::DuplicateCall(call.id))
        } else if self.calls.len() >= engine.limits.calls {
            Some(Error::Limit("calls"))
        } else {
            None
        };
        if let Some(error) = refused {
            self.uncount(&payload);
            return complete(engine, call.completion, Err(error));
        }
        let timer = engine.set_timer(call.timeout, Timer::Call(self.key, call.id));
        let waiting = Waiting {
            serial: call.serial,
            timer: Some(timer),
            completion: call.completion,
        };
        self.calls.insert(call.id, waiting);
        self.accept_payload(engine, payload);
    }

    /// Nobody waits for the reply any more.
    pub(crate) fn forget_call(&mut self, engine: &mut Engine<H>, serial: u64) {
        let id = self
            .calls
            .iter()
            .find(|(_, c)| c.serial == serial)
            .map(|(id, _)| *id);
        if let Some(mut waiting) = id.and_then(|id| self.calls.remove(&id)) {
            engine.cancel_timer(&mut waiting.timer);
        }
    }

    /// A reply did not come in time.
    pub(crate) fn call_expired(&mut self, engine: &mut Engine<H>, id: u64) {
        if let Some(waiting) = self.calls.remove(&id) {
            engine.metrics.call_timeouts += 1;
            complete(engine, waiting.completion, Err(Error::Timeout));
        }
    }

    /// Whether replies are waited for.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }
}
