//! A client's connection: registration, requests with their ids, merging, and answers matched to requests.

use std::collections::BTreeMap;

use seamio::proto::Text;
use seamio::proto::codec::Rpc;
use seamio::proto::message::{MergedWarp, Message, RegisterRm, RegisterTm};
use seamio::proto::version::{ExceptionTable, PeerVersion};

use crate::env::{Env, Event, MS, Micros, SECOND};
use crate::wire::Wire;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Registration,
    Begin {
        tx: usize,
    },
    Branch {
        tx: usize,
    },
    Report {
        tx: usize,
    },
    End {
        tx: usize,
        commit: bool,
    },
    /// Nobody cares for the answer.
    Extra,
}

/// One connection of a client, and what is needed to make it again.
pub(crate) struct Link {
    pub(crate) index: usize,
    pub(crate) application: &'static str,
    pub(crate) version: &'static str,
    pub(crate) is_rm: bool,
    pub(crate) resources: Vec<&'static str>,
    pub(crate) conn: Option<u64>,
    /// Registered: may be used.
    pub(crate) ready: bool,
    pending: BTreeMap<i32, (What, Micros)>,
    warps: BTreeMap<i32, Vec<i32>>,
    gathered: Vec<(i32, Message)>,
    next_id: i32,
    heard: Micros,
}

/// How long a client waits for an answer.
pub(crate) const PATIENCE: Micros = 30 * SECOND;

impl Link {
    /// A link that is not connected.
    pub(crate) fn new(
        index: usize,
        application: &'static str,
        version: &'static str,
        is_rm: bool,
        resources: Vec<&'static str>,
    ) -> Self {
        Self {
            index,
            application,
            version,
            is_rm,
            resources,
            conn: None,
            ready: false,
            pending: BTreeMap::new(),
            warps: BTreeMap::new(),
            gathered: Vec::new(),
            next_id: 1,
            heard: 0,
        }
    }

    /// The same to another coordinator.
    pub(crate) fn twin(&self, index: usize) -> Self {
        let resources = self.resources.clone();
        Self::new(index, self.application, self.version, self.is_rm, resources)
    }

    /// How this client numbers exception codes.
    pub(crate) fn table(&self) -> ExceptionTable {
        PeerVersion::parse(self.version).exception_table()
    }

    /// A connection was made: introduces itself.
    pub(crate) fn connected(&mut self, env: &mut Env, wire: &mut Wire, conn: u64) {
        self.conn = Some(conn);
        self.ready = false;
        self.heard = env.now;
        if env.rng.chance(300) {
            let ping = Rpc::ping(self.id());
            wire.send(env, conn, true, &ping, self.table());
        }
        let (version, application_id) = (Text::from(self.version), Text::from(self.application));
        let transaction_service_group = Text::from("group");
        let message = match self.is_rm {
            true => Message::RegisterRm(RegisterRm {
                version,
                application_id,
                transaction_service_group,
                extra_data: Text::new(),
                resource_ids: Text::from(self.resources.join(",")),
            }),
            false => Message::RegisterTm(RegisterTm {
                version,
                application_id,
                transaction_service_group,
                extra_data: Text::new(),
            }),
        };
        let id = self.id();
        self.pending.insert(id, (What::Registration, env.now));
        wire.send(env, conn, true, &Rpc::request(id, message), self.table());
    }

    /// Sends a request, soon and perhaps together with others.
    pub(crate) fn request(&mut self, env: &mut Env, wire: &mut Wire, what: What, message: Message) {
        let Some(conn) = self.conn else { return };
        let id = self.id();
        self.pending.insert(id, (what, env.now));
        if env.rng.chance(600) {
            if self.gathered.is_empty() {
                let delay = env.rng.below(3 * MS);
                env.after(delay, Event::Flush { link: self.index });
            }
            self.gathered.push((id, message));
        } else {
            wire.send(env, conn, true, &Rpc::request(id, message), self.table());
        }
    }

    /// Sends what was gathered: alone as it is, several as one merged request.
    pub(crate) fn flush(&mut self, env: &mut Env, wire: &mut Wire) {
        let gathered = std::mem::take(&mut self.gathered);
        let (Some(conn), false) = (self.conn, gathered.is_empty()) else {
            return;
        };
        let (ids, messages): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
        let warp_id = self.id();
        self.warps.insert(warp_id, ids.clone());
        let tells_ids = PeerVersion::parse(self.version).at_least(1, 5);
        let warp = MergedWarp {
            messages,
            ids: if tells_ids { ids } else { Vec::new() },
        };
        let rpc = Rpc::request(warp_id, Message::MergedWarp(warp));
        wire.send(env, conn, true, &rpc, self.table());
    }

    /// Matches an answer to its requests. Err: nobody asked.
    pub(crate) fn answered(&mut self, rpc: &Rpc) -> Result<Vec<(What, Message)>, String> {
        let pairs: Vec<(i32, Message)> = match &rpc.message {
            Message::MergeResult(result) => match self.warps.remove(&rpc.id) {
                Some(ids) if ids.len() == result.messages.len() => {
                    ids.into_iter().zip(result.messages.clone()).collect()
                }
                _ => return Err(format!("a merged answer {} to no request", rpc.id)),
            },
            Message::BatchResult(result) => result
                .ids
                .iter()
                .copied()
                .zip(result.messages.clone())
                .collect(),
            message => vec![(rpc.id, message.clone())],
        };
        let mut found = Vec::new();
        for (id, message) in pairs {
            match self.pending.remove(&id) {
                Some((what, _)) => found.push((what, message)),
                // It came after its request was given up.
                None if id <= self.next_id => {}
                None => return Err(format!("an answer {id} to no request")),
            }
        }
        Ok(found)
    }

    /// The connection is gone. Everything that waits for an answer has lost it.
    pub(crate) fn lost(&mut self) -> Vec<What> {
        self.conn = None;
        self.ready = false;
        self.gathered.clear();
        self.warps.clear();
        std::mem::take(&mut self.pending)
            .into_values()
            .map(|(what, _)| what)
            .collect()
    }

    /// Something came from the coordinator.
    pub(crate) fn heard(&mut self, now: Micros) {
        self.heard = now;
    }

    /// The connection, if nothing has come over it for too long.
    pub(crate) fn silent(&self, now: Micros) -> Option<u64> {
        self.conn.filter(|_| self.heard + 25 * SECOND <= now)
    }

    /// Requests that have waited for too long are given up.
    pub(crate) fn out_of_patience(&mut self, now: Micros) -> Vec<What> {
        let late = self
            .pending
            .iter()
            .filter(|(_, (_, sent))| sent + PATIENCE <= now);
        let late: Vec<_> = late.map(|(id, _)| *id).collect();
        late.iter()
            .filter_map(|id| self.pending.remove(id))
            .map(|(what, _)| what)
            .collect()
    }

    fn id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id
    }
}
