//! Connections of a scripted peer: bytes in, bytes out, over the simulated network.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::network::{Machine, Network, SimDriver, SimStream};
use crate::net::driver::{Driver, Event, SocketOptions, Stream, Token};

/// Client connections named by numbers of the caller's choice. What is to be sent waits here without a limit.
///
/// As a [`Machine`] it moves bytes whenever the network lets it, and sleeps no longer than [`Plugs::set_nap`] said, so
/// that a simulation with events of its own gets its turn in time.
pub struct Plugs {
    driver: SimDriver,
    plugs: BTreeMap<u64, Plug>,
    news: VecDeque<(u64, News)>,
    events: Vec<Event>,
    nap: Duration,
}

/// What came over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Bytes, in order.
    Bytes(Vec<u8>),
    /// The other end closed it, it broke, or it never came to be. Nothing follows.
    Closed,
}

struct Plug {
    stream: SimStream,
    waiting: VecDeque<u8>,
}

impl Plugs {
    /// A machine of its own in `network`, without connections.
    pub fn new(network: &Network) -> Self {
        Self {
            driver: network.driver(),
            plugs: BTreeMap::new(),
            news: VecDeque::new(),
            events: Vec::new(),
            nap: Duration::ZERO,
        }
    }

    /// Starts a connection attempt. What is sent meanwhile waits for it.
    pub fn connect(&mut self, name: u64, to: SocketAddr) {
        let options = SocketOptions::default();
        match self.driver.connect(&to.into(), &options, Token(name)) {
            Ok(stream) => {
                let waiting = VecDeque::new();
                self.plugs.insert(name, Plug { stream, waiting });
            }
            Err(_) => self.news.push_back((name, News::Closed)),
        }
    }

    /// Sends bytes. On a connection that is gone they go nowhere.
    pub fn send(&mut self, name: u64, bytes: &[u8]) {
        if let Some(plug) = self.plugs.get_mut(&name) {
            plug.waiting.extend(bytes);
        }
    }

    /// Drops a connection: the other end reads a reset.
    pub fn abort(&mut self, name: u64) {
        if let Some(mut plug) = self.plugs.remove(&name) {
            plug.stream.abort();
        }
    }

    /// Drops every connection and what came of them.
    pub fn abort_all(&mut self) {
        let names: Vec<_> = self.plugs.keys().copied().collect();
        names.into_iter().for_each(|name| self.abort(name));
        self.news.clear();
    }

    /// The next thing that came.
    pub fn poll_news(&mut self) -> Option<(u64, News)> {
        self.news.pop_front()
    }

    /// How long the machine may sleep from now.
    pub fn set_nap(&mut self, nap: Duration) {
        self.nap = nap;
    }
}

impl Machine for Plugs {
    fn turn(&mut self) -> io::Result<bool> {
        self.events.clear();
        self.driver.poll(&mut self.events, Some(self.nap))?;
        let mut moved = !self.events.is_empty();
        let mut gone = Vec::new();
        for (name, plug) in &mut self.plugs {
            match plug.transfer() {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    moved = true;
                    self.news.push_back((*name, News::Bytes(bytes)));
                }
                Err(_) => gone.push(*name),
            }
        }
        for name in gone {
            moved = true;
            self.plugs.remove(&name);
            self.news.push_back((name, News::Closed));
        }
        Ok(moved)
    }
}

impl Plug {
    /// Writes and reads once. An end of stream is an error here.
    fn transfer(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        if !self.waiting.is_empty() {
            match self.stream.write(self.waiting.make_contiguous()) {
                Ok(count) => _ = self.waiting.drain(..count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let mut bytes = Vec::new();
        match self.stream.receive(&mut bytes, READ_BYTES_MAX) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

const READ_BYTES_MAX: usize = 64 << 10;
