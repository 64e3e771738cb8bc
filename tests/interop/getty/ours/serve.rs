//! The server: sends back what it gets, or only counts it in mode mute. Standard input: a line `close` closes every session gracefully, its end ends the
//! process.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use seamio::net::{
    CloseReason, Cx, Error, Handler, LaneId, Lanes, LengthDelimited, Reactor, Refused, Route,
    Session, SessionConfig, SessionId,
};

use crate::{CLOSE, Failure, Mode, Options};

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let open = Arc::new(Mutex::new(HashMap::new()));
    let server = Server {
        mute: options.mode == Mode::Mute,
        open: Arc::clone(&open),
    };
    let mut reactor = Reactor::new(options.config(), server)?;
    reactor.listen(options.endpoint()?, options.listening()?)?;
    println!("listening {}", options.address);
    std::thread::spawn(move || {
        for _order in std::io::stdin().lock().lines() {
            let sessions = open.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.values().for_each(Session::close);
        }
        std::process::exit(0);
    });
    Ok(reactor.run()?)
}

struct Server {
    mute: bool,
    open: Arc<Mutex<HashMap<SessionId, Session<Server>>>>,
}

impl Server {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Session<Server>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Server {
    type Codec = LengthDelimited;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &LengthDelimited {
        &LengthDelimited
    }

    fn lane(&self, _id: LaneId, _lanes: Lanes<Self>) {}

    fn route(&self, _session: &Session<Self>, _payload: &Bytes) -> Route {
        Route::Inline
    }

    fn on_open(
        &self,
        _cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        _config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        self.open().insert(session.id(), session.clone());
        println!("open");
        Ok(())
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, payload: Bytes) {
        if self.mute {
            return;
        }
        if let Err(e) = cx.send(&payload) {
            println!("error {e}");
        }
        if payload == CLOSE {
            session.close();
        }
    }

    fn on_error(&self, _cx: &mut Cx<'_, Self>, _session: &Session<Self>, error: &Error) {
        println!("error {error}");
    }

    fn on_close(&self, _cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        self.open().remove(&session.id());
        println!("closed {} {reason}", session.stats().frames_in);
    }
}
