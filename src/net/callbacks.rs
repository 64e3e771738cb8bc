//! A handler made of closures, for programs that need no lanes (network.md C.1).

use std::fmt;
use std::time::Instant;

use super::codec::Codec;
use super::config::SessionConfig;
use super::error::{CloseReason, Error, Refused};
use super::handler::{Cx, Handler, Route};
use super::id::{ConnectorId, LaneId};
use super::lane::Lanes;
use super::session::Session;

/// A [`Handler`] made of closures around a codec. It has no lanes; everything else a handler can do is here, by the same
/// names. What is not set does what the trait's own default does; messages nobody takes are dropped.
///
/// The closures share what they capture by `Arc`; they run on the reactor's thread, except that of
/// [`Callbacks::on_blocking`]. Each costs one indirect call.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use seamio::net::{Callbacks, Config, ConnectOptions, Lines, ListenOptions, Reactor};
///
/// // A server that answers in capitals, on a thread of its own.
/// let shout = Callbacks::new(Lines).on_message(|cx, session, line: String| {
///     if cx.send(&line.to_uppercase()).is_err() {
///         session.abort();
///     }
/// });
/// let mut server = Reactor::new(Config::default(), shout)?;
/// let id = server.listen("127.0.0.1:0".parse()?, ListenOptions::default())?;
/// let address = server.local_addr(id).expect("it listens");
/// let stop = server.handle();
/// let thread = std::thread::spawn(move || server.run());
///
/// // A client in this one. The connector connects again by itself, so `on_open` may be called more than once.
/// let (heard, lines) = mpsc::channel();
/// let listen = Callbacks::new(Lines)
///     .on_open(|cx, _session, _config| {
///         let _ = cx.send(&"hello".to_owned());
///         Ok(())
///     })
///     .on_message(move |_cx, _session, line| drop(heard.send(line)));
/// let mut client = Reactor::new(Config::default(), listen)?;
/// client.connect(address.into(), ConnectOptions::default());
/// let line = loop {
///     client.poll_once(None)?;
///     if let Ok(line) = lines.try_recv() {
///         break line;
///     }
/// };
/// assert_eq!(line, "HELLO");
///
/// stop.drain(Duration::from_secs(1));
/// drop(client);
/// thread.join().expect("no panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Callbacks<C: Codec> {
    codec: C,
    on_open: Option<Box<OnOpen<C>>>,
    route: Option<Box<OnRoute<C>>>,
    on_message: Option<Box<OnMessage<C>>>,
    on_blocking: Option<Box<OnBlocking<C>>>,
    on_tick: Option<Box<OnEvent<C>>>,
    on_writable: Option<Box<OnEvent<C>>>,
    on_finished: Option<Box<OnEvent<C>>>,
    on_error: Option<Box<OnError<C>>>,
    on_close: Option<Box<OnClose<C>>>,
    on_connect_error: Option<Box<OnConnectError>>,
    on_drain: Option<Box<OnDrain>>,
}

type OnOpen<C> = dyn Fn(&mut Cx<'_, Callbacks<C>>, &Session<Callbacks<C>>, &mut SessionConfig) -> Result<(), Refused>
    + Send
    + Sync;
type OnRoute<C> = dyn Fn(&Session<Callbacks<C>>, &<C as Codec>::In) -> Route + Send + Sync;
type OnMessage<C> =
    dyn Fn(&mut Cx<'_, Callbacks<C>>, &Session<Callbacks<C>>, <C as Codec>::In) + Send + Sync;
type OnBlocking<C> = dyn Fn(&Session<Callbacks<C>>, <C as Codec>::In) + Send + Sync;
type OnEvent<C> = dyn Fn(&mut Cx<'_, Callbacks<C>>, &Session<Callbacks<C>>) + Send + Sync;
type OnError<C> = dyn Fn(&mut Cx<'_, Callbacks<C>>, &Session<Callbacks<C>>, &Error) + Send + Sync;
type OnClose<C> =
    dyn Fn(&mut Cx<'_, Callbacks<C>>, &Session<Callbacks<C>>, CloseReason) + Send + Sync;
type OnConnectError = dyn Fn(ConnectorId, &Error, Option<Instant>) + Send + Sync;
type OnDrain = dyn Fn() + Send + Sync;

impl<C: Codec> Callbacks<C> {
    /// A handler that opens every session and drops every message.
    pub fn new(codec: C) -> Self {
        Callbacks {
            codec,
            on_open: None,
            route: None,
            on_message: None,
            on_blocking: None,
            on_tick: None,
            on_writable: None,
            on_finished: None,
            on_error: None,
            on_close: None,
            on_connect_error: None,
            on_drain: None,
        }
    }

    /// Sets [`Handler::on_open`].
    #[must_use]
    pub fn on_open(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>, &mut SessionConfig) -> Result<(), Refused>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.on_open = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::route`]. Without it every message goes to [`Callbacks::on_message`].
    #[must_use]
    pub fn route(
        mut self,
        f: impl Fn(&Session<Self>, &C::In) -> Route + Send + Sync + 'static,
    ) -> Self {
        self.route = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_message`].
    #[must_use]
    pub fn on_message(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>, C::In) + Send + Sync + 'static,
    ) -> Self {
        self.on_message = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_blocking`]: where [`Route::Blocking`] leads.
    #[must_use]
    pub fn on_blocking(
        mut self,
        f: impl Fn(&Session<Self>, C::In) + Send + Sync + 'static,
    ) -> Self {
        self.on_blocking = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_tick`]. The period is [`SessionConfig::tick`].
    #[must_use]
    pub fn on_tick(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>) + Send + Sync + 'static,
    ) -> Self {
        self.on_tick = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_writable`].
    #[must_use]
    pub fn on_writable(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>) + Send + Sync + 'static,
    ) -> Self {
        self.on_writable = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_finished`]. Called only with [`SessionConfig::half_close`].
    #[must_use]
    pub fn on_finished(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>) + Send + Sync + 'static,
    ) -> Self {
        self.on_finished = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_error`].
    #[must_use]
    pub fn on_error(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>, &Error) + Send + Sync + 'static,
    ) -> Self {
        self.on_error = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_close`].
    #[must_use]
    pub fn on_close(
        mut self,
        f: impl Fn(&mut Cx<'_, Self>, &Session<Self>, CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.on_close = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_connect_error`].
    #[must_use]
    pub fn on_connect_error(
        mut self,
        f: impl Fn(ConnectorId, &Error, Option<Instant>) + Send + Sync + 'static,
    ) -> Self {
        self.on_connect_error = Some(Box::new(f));
        self
    }

    /// Sets [`Handler::on_drain`].
    #[must_use]
    pub fn on_drain(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_drain = Some(Box::new(f));
        self
    }
}

impl<C: Codec> Handler for Callbacks<C> {
    type Codec = C;
    type Lane = ();
    type Event = ();

    fn codec(&self) -> &C {
        &self.codec
    }

    fn lane(&self, _: LaneId, _: Lanes<Self>) {}

    fn on_open(
        &self,
        cx: &mut Cx<'_, Self>,
        session: &Session<Self>,
        config: &mut SessionConfig,
    ) -> Result<(), Refused> {
        match &self.on_open {
            Some(f) => f(cx, session, config),
            None => Ok(()),
        }
    }

    fn route(&self, session: &Session<Self>, message: &C::In) -> Route {
        match &self.route {
            Some(f) => f(session, message),
            None => Route::Inline,
        }
    }

    fn on_message(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, message: C::In) {
        if let Some(f) = &self.on_message {
            f(cx, session, message);
        }
    }

    fn on_blocking(&self, session: &Session<Self>, message: C::In) {
        if let Some(f) = &self.on_blocking {
            f(session, message);
        }
    }

    fn on_tick(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        if let Some(f) = &self.on_tick {
            f(cx, session);
        }
    }

    fn on_writable(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        if let Some(f) = &self.on_writable {
            f(cx, session);
        }
    }

    fn on_finished(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>) {
        if let Some(f) = &self.on_finished {
            f(cx, session);
        }
    }

    fn on_error(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, error: &Error) {
        if let Some(f) = &self.on_error {
            f(cx, session, error);
        }
    }

    fn on_close(&self, cx: &mut Cx<'_, Self>, session: &Session<Self>, reason: CloseReason) {
        if let Some(f) = &self.on_close {
            f(cx, session, reason);
        }
    }

    fn on_connect_error(&self, connector: ConnectorId, error: &Error, again: Option<Instant>) {
        if let Some(f) = &self.on_connect_error {
            f(connector, error, again);
        }
    }

    fn on_drain(&self, _: &Lanes<Self>) {
        if let Some(f) = &self.on_drain {
            f();
        }
    }
}

impl<C: Codec + fmt::Debug> fmt::Debug for Callbacks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}
