//! Connections as byte streams: in order within one, in any order between them, in pieces of any size, cut anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use seamio::proto::codec::{Rpc, decode_rpc, encode_rpc};
use seamio::proto::frame::{FRAME_BYTES_MAX, FrameLength, decode_frame, peek_frame};
use seamio::proto::version::ExceptionTable;

use crate::env::{Env, Event, MS, Micros, SECOND};

/// How bad the network is. Chances are in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// A piece takes at most this long.
    pub(crate) delay_max: Micros,
    /// A message travels in several pieces.
    pub(crate) split: u32,
    /// A piece is late by up to a second.
    pub(crate) late: u32,
}

/// All connections.
pub(crate) struct Wire {
    conns: BTreeMap<u64, Conn>,
    next: u64,
    weather: Weather,
    /// Links of one server: those of one process have the same address at each.
    per_server: usize,
    /// Until when the network of a link is cut.
    cut: BTreeMap<usize, Micros>,
}

struct Conn {
    link: usize,
    to_server: Pipe,
    to_client: Pipe,
    /// Sends go nowhere.
    dead: bool,
    server_gone: bool,
    client_gone: bool,
}

#[derive(Default)]
struct Pipe {
    pieces: VecDeque<Bytes>,
    /// No piece sent later arrives before this.
    last: Micros,
    read: BytesMut,
}

/// What came out of a connection.
pub(crate) enum Arrival {
    /// Bytes were added; take frames.
    Some,
    /// Nothing is there any more.
    Nothing,
    /// The network is cut; it arrives later.
    Later,
}

impl Wire {
    /// No connection yet.
    pub(crate) fn new(weather: Weather, per_server: usize) -> Self {
        Self {
            conns: BTreeMap::new(),
            next: 1,
            weather,
            per_server,
            cut: BTreeMap::new(),
        }
    }

    /// From now on pieces are quick and whole, and nothing is cut.
    pub(crate) fn heal(&mut self) {
        self.weather = Weather {
            delay_max: MS,
            split: 0,
            late: 0,
        };
        self.cut.clear();
    }

    /// A client connects. None while its network is cut.
    pub(crate) fn open(&mut self, env: &Env, link: usize) -> Option<(u64, SocketAddr)> {
        if self.cut_until(env, link).is_some() {
            return None;
        }
        let conn = self.next;
        self.next += 1;
        self.conns.insert(
            conn,
            Conn {
                link,
                to_server: Pipe::default(),
                to_client: Pipe::default(),
                dead: false,
                server_gone: false,
                client_gone: false,
            },
        );
        let host = Ipv4Addr::new(10, 0, 0, 1 + (link % self.per_server / 2) as u8);
        Some((
            conn,
            SocketAddr::new(IpAddr::V4(host), 30_000 + conn as u16),
        ))
    }

    /// The network between a link and the coordinator delivers nothing for a while. Connections survive a short cut.
    pub(crate) fn cut(&mut self, env: &mut Env, link: usize, length: Micros) {
        let until = env.now + length;
        env.trace(format_args!("cut link {link} for {} ms", length / MS));
        self.cut.insert(link, until);
        if length > 15 * SECOND {
            self.lose_link(env, link);
        }
    }

    /// Every connection of a link is lost.
    pub(crate) fn lose_link(&mut self, env: &mut Env, link: usize) {
        let of_link = |c: &Conn| c.link == link && !c.dead;
        let conns: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, c)| of_link(c))
            .map(|(id, _)| *id)
            .collect();
        for conn in conns {
            self.lose(env, conn);
        }
    }

    /// A connection is lost: of what is under way a random part still arrives, then each side learns of it.
    pub(crate) fn lose(&mut self, env: &mut Env, conn: u64) {
        let Some(found) = self.conns.get_mut(&conn).filter(|c| !c.dead) else {
            return;
        };
        found.dead = true;
        for pipe in [&mut found.to_server, &mut found.to_client] {
            let keep = env.rng.index(pipe.pieces.len() + 1);
            pipe.pieces.truncate(keep);
        }
        let (server_last, client_last) = (found.to_server.last, found.to_client.last);
        env.trace(format_args!("lose conn {conn}"));
        let slack = env.rng.below(200 * MS);
        env.at(
            server_last.max(env.now) + slack,
            Event::Gone { conn, server: true },
        );
        let slack = env.rng.below(200 * MS);
        env.at(
            client_last.max(env.now) + slack,
            Event::Gone {
                conn,
                server: false,
            },
        );
    }

    /// One side closed it. The other reads what is under way and then learns of it.
    pub(crate) fn close(&mut self, env: &mut Env, conn: u64, by_server: bool) {
        let Some(found) = self.conns.get_mut(&conn).filter(|c| !c.dead) else {
            return;
        };
        found.dead = true;
        env.trace(format_args!(
            "close conn {conn} by {}",
            if by_server { "server" } else { "client" }
        ));
        let (mine, other) = if by_server {
            found.server_gone = true;
            (&mut found.to_server, &found.to_client)
        } else {
            found.client_gone = true;
            (&mut found.to_client, &found.to_server)
        };
        mine.pieces.clear();
        env.at(
            other.last.max(env.now) + 1,
            Event::Gone {
                conn,
                server: !by_server,
            },
        );
    }

    /// The coordinator's process died: its sockets are gone, bytes it had written may still arrive.
    pub(crate) fn server_died(&mut self, env: &mut Env) {
        let all = 0..usize::MAX;
        self.server_of_links_died(env, all);
    }

    /// As [`Wire::server_died`], of one that these links lead to.
    pub(crate) fn server_of_links_died(&mut self, env: &mut Env, links: Range<usize>) {
        let conns: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, c)| !c.server_gone && links.contains(&c.link))
            .map(|(id, _)| *id)
            .collect();
        for conn in conns {
            let found = self.conns.get_mut(&conn).expect("listed");
            found.server_gone = true;
            found.to_server.pieces.clear();
            if !std::mem::replace(&mut found.dead, true) {
                let last = found.to_client.last;
                let slack = env.rng.below(50 * MS);
                env.at(
                    last.max(env.now) + slack,
                    Event::Gone {
                        conn,
                        server: false,
                    },
                );
            }
        }
    }

    /// Sends a message as bytes. On a dead connection it goes nowhere.
    pub(crate) fn send(
        &mut self,
        env: &mut Env,
        conn: u64,
        to_server: bool,
        rpc: &Rpc,
        table: ExceptionTable,
    ) {
        let Some(found) = self.conns.get_mut(&conn).filter(|c| !c.dead) else {
            return;
        };
        let mut bytes = BytesMut::new();
        encode_rpc(rpc, table, &mut bytes).expect("what is sent can be written");
        let pipe = if to_server {
            &mut found.to_server
        } else {
            &mut found.to_client
        };
        env.note(&bytes);
        let mut rest = bytes.freeze();
        while !rest.is_empty() {
            let piece = match env.rng.chance(self.weather.split) {
                true => rest.split_to(env.rng.size(rest.len())),
                false => std::mem::take(&mut rest),
            };
            pipe.pieces.push_back(piece);
            let mut delay = env.rng.between(50, self.weather.delay_max);
            if env.rng.chance(self.weather.late) {
                delay += env.rng.below(SECOND);
            }
            pipe.last = pipe.last.max(env.now + delay);
            env.at(pipe.last, Event::Arrive { conn, to_server });
        }
    }

    /// The next piece arrives.
    pub(crate) fn arrive(&mut self, env: &mut Env, conn: u64, to_server: bool) -> Arrival {
        let Some(link) = self.conns.get(&conn).map(|c| c.link) else {
            return Arrival::Nothing;
        };
        if let Some(until) = self.cut_until(env, link) {
            env.at(until, Event::Arrive { conn, to_server });
            let found = self.conns.get_mut(&conn).expect("just seen");
            let pipe = if to_server {
                &mut found.to_server
            } else {
                &mut found.to_client
            };
            pipe.last = pipe.last.max(until);
            return Arrival::Later;
        }
        let found = self.conns.get_mut(&conn).expect("just seen");
        let gone = if to_server {
            found.server_gone
        } else {
            found.client_gone
        };
        let pipe = if to_server {
            &mut found.to_server
        } else {
            &mut found.to_client
        };
        match pipe.pieces.pop_front() {
            Some(piece) if !gone => {
                pipe.read.extend_from_slice(&piece);
                Arrival::Some
            }
            _ => Arrival::Nothing,
        }
    }

    /// The next whole message of what has arrived.
    pub(crate) fn take(
        &mut self,
        conn: u64,
        to_server: bool,
        table: ExceptionTable,
    ) -> Option<Rpc> {
        let found = self.conns.get_mut(&conn)?;
        let gone = if to_server {
            found.server_gone
        } else {
            found.client_gone
        };
        let pipe = if to_server {
            &mut found.to_server
        } else {
            &mut found.to_client
        };
        if gone {
            return None;
        }
        match peek_frame(&pipe.read, FRAME_BYTES_MAX).expect("what was sent is a frame") {
            FrameLength::Complete(length) => {
                let frame =
                    decode_frame(pipe.read.split_to(length).freeze()).expect("a whole frame");
                Some(decode_rpc(frame, table).expect("what was written can be read"))
            }
            FrameLength::Need(_) => None,
        }
    }

    /// A side learns that the connection is gone. False: it knew.
    pub(crate) fn gone(&mut self, conn: u64, server: bool) -> bool {
        let Some(found) = self.conns.get_mut(&conn) else {
            return false;
        };
        let side = if server {
            &mut found.server_gone
        } else {
            &mut found.client_gone
        };
        let news = !std::mem::replace(side, true);
        if found.server_gone && found.client_gone {
            self.conns.remove(&conn);
        }
        news
    }

    /// A random connection that lives.
    pub(crate) fn any(&self, env: &mut Env) -> Option<u64> {
        let live: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, c)| !c.dead)
            .map(|(id, _)| *id)
            .collect();
        (!live.is_empty()).then(|| live[env.rng.index(live.len())])
    }

    /// Which link a connection belongs to.
    pub(crate) fn link(&self, conn: u64) -> Option<usize> {
        self.conns.get(&conn).map(|c| c.link)
    }

    fn cut_until(&self, env: &Env, link: usize) -> Option<Micros> {
        self.cut
            .get(&link)
            .copied()
            .filter(|until| *until > env.now)
    }
}
