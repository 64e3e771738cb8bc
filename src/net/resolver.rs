//! Resolves names on a helper thread, started when the first one comes (network.md B.8, B.34).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::config::PLACES_MAX;
use super::handler::Handler;
use super::id::ConnectorId;
use super::remote::{Remote, Resolved};
use super::wake::Producer;

/// The way to the helper thread, which ends with this.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    requests: Option<Sender<Request>>,
}

#[derive(Debug)]
struct Request {
    connector: ConnectorId,
    link: usize,
    name: String,
    port: u16,
}

impl Resolver {
    /// Asks for the addresses of a name. The answer comes through the reactor's queue.
    ///
    /// # Errors
    /// When too many names wait already, or no thread could be started.
    pub(crate) fn resolve<H: Handler>(
        &mut self,
        remote: &Producer<Remote<H>>,
        limit: usize,
        (connector, link): (ConnectorId, usize),
        (name, port): (&str, u16),
    ) -> io::Result<()> {
        let requests = match &self.requests {
            Some(requests) => requests,
            None => {
                let (sender, receiver) = bounded(limit.clamp(1, PLACES_MAX));
                let remote = remote.clone();
                let builder = thread::Builder::new().name("net-resolver".into());
                builder.spawn(move || serve(&receiver, &remote))?;
                self.requests.insert(sender)
            }
        };
        let request = Request {
            connector,
            link,
            name: name.into(),
            port,
        };
        let full = |_| io::Error::new(io::ErrorKind::QuotaExceeded, "too many names to resolve");
        requests.try_send(request).map_err(full)
    }
}

fn serve<H: Handler>(requests: &Receiver<Request>, remote: &Producer<Remote<H>>) {
    for Request {
        connector,
        link,
        name,
        port,
    } in requests
    {
        let outcome = (name.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect);
        let outcome = outcome.and_then(|addresses: Vec<SocketAddr>| match addresses.len() {
            0 => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            )),
            _ => Ok(addresses),
        });
        if remote
            .push_always(Remote::Resolved(Resolved {
                connector,
                link,
                outcome,
            }))
            .is_err()
        {
            return;
        }
    }
}
