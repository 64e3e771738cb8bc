//! The client itself: its builder, and the handle that everything begins with.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::background::{Background, Jobs, Spawned};
use super::credentials::Credentials;
use super::exchange::{Answer, CallId, Exchange, Identity, Reply, Request};
use super::inbox::{Command, Inbox};
use super::metrics::{Counters, Metrics};
use super::registry::{File, check_addresses};
use super::resource::BoxFuture;
use super::ticket::{Ticket, ticket};
use super::tm::{Bypass, FailureHandler, TxHook, probe};
use super::wire::{Desk, Wire, epoch_ms};
use super::{ClientOptions, Error, GlobalTransactions, Rm, Start};
use crate::net::{
    Backoff, Clock, Config, ConnectOptions, Driver, Handle, Overflow, Reactor, SessionConfig,
    Workers,
};
use crate::proto::Text;
use crate::proto::message::{Message, TxResult};

/// A client of a group of coordinators: TM and RM in one. Cheap to clone; usable from any thread and any executor.
///
/// It lives until [`Seata::close`], or until its last handle is dropped; a registered resource that holds an [`Rm`] is such
/// a handle.
#[derive(Clone)]
pub struct Seata {
    pub(super) inner: Arc<Inner>,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(super) options: ClientOptions,
    pub(super) counters: Arc<Counters>,
    pub(super) hooks: Vec<Arc<dyn TxHook>>,
    pub(super) failures: Arc<dyn FailureHandler>,
    pub(super) bypass: Bypass,
    pub(super) handle: Handle<Wire>,
    inbox: Arc<Inbox>,
    jobs: Arc<Jobs>,
    next_call: AtomicU64,
}

/// Collects what a client is made of. See [`Seata::builder`].
#[must_use = "nothing happens before `build`"]
pub struct SeataBuilder {
    application: String,
    group: String,
    registry: File,
    credentials: Credentials,
    options: ClientOptions,
    connect: ConnectOptions,
    hooks: Vec<Arc<dyn TxHook>>,
    failures: Arc<dyn FailureHandler>,
}

impl Seata {
    /// Begins to describe a client.
    ///
    /// ```no_run
    /// use seamio::client::{File, Seata, TxOptions};
    ///
    /// # async fn run() -> Result<(), seamio::client::Error> {
    /// let (seata, background) = Seata::builder()
    ///     .application("order")
    ///     .group("default_tx_group")
    ///     .registry(File::new(["127.0.0.1:8091"]))
    ///     .build()
    ///     .await?;
    /// // Second phases run where the host says, here on its tokio runtime.
    /// tokio::spawn(background);
    ///
    /// let tx = seata.begin(TxOptions::new("place-order")).await?;
    /// println!("{}", tx.xid());
    /// tx.commit().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> SeataBuilder {
        SeataBuilder {
            application: String::new(),
            group: "default_tx_group".to_owned(),
            registry: File::new(["127.0.0.1:8091"]),
            credentials: Credentials::default(),
            options: ClientOptions::default(),
            connect: ConnectOptions {
                backoff: Backoff {
                    cap: RECONNECT_WITHIN,
                    ..Backoff::default()
                },
                ..ConnectOptions::default()
            },
            hooks: Vec::new(),
            failures: Arc::new(super::tm::LogFailures),
        }
    }

    /// The side that owns resources and registers branches.
    pub fn rm(&self) -> Rm {
        Rm::new(&self.inner)
    }

    /// Replaces the list of coordinators: connects to those that came, closes the connections to those that left. For hosts
    /// that look their coordinators up by themselves.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the list is empty or holds what is no address; then nothing changes.
    pub fn set_addresses<A: Into<String>>(
        &self,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<(), Error> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        check_addresses(&addresses, "the new list")?;
        self.inner.inbox.push(Command::Addresses(addresses));
        Ok(())
    }

    /// `service.disableGlobalTransaction`, while it runs: whether code that asks for a global transaction gets one.
    /// Transactions under way are not affected.
    pub fn switch(&self, to: GlobalTransactions) {
        self.inner.bypass.switch(to);
    }

    /// Ends the client in an orderly way: nothing new is begun, what is under way (requests, second phases) is finished for
    /// at most `grace`, then the connections are closed and [`Background`] ends.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the end goes on.
    pub async fn close(&self, grace: Duration) {
        let (sink, done) = ticket();
        self.inner.inbox.push(Command::Close {
            grace,
            sink: Some(sink),
        });
        let _ = done.await;
        self.inner.jobs.close();
    }

    /// What it did so far.
    pub fn metrics(&self) -> Metrics {
        self.inner.counters.snapshot()
    }
}

impl fmt::Debug for Seata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seata").finish_non_exhaustive()
    }
}

impl SeataBuilder {
    /// The application's name, without commas and colons. Required.
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.application = name.into();
        self
    }

    /// The transaction service group. Default `default_tx_group`.
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = name.into();
        self
    }

    /// Where the coordinators are. Default `127.0.0.1:8091`.
    pub fn registry(mut self, registry: File) -> Self {
        self.registry = registry;
        self
    }

    /// `seata.accesskey` and `seata.secretkey`, with which the TM signs its registration. Default none.
    pub fn credentials(
        mut self,
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
    ) -> Self {
        self.credentials = Credentials {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
        };
        self
    }

    /// Times, limits and switches.
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.options = options;
        self
    }

    /// How to connect: timeouts, backoff (by default with pauses of at most 5 s), encryption. Name and number of connections do not count.
    pub fn connect_options(mut self, options: ConnectOptions) -> Self {
        self.connect = options;
        self
    }

    /// Adds a hook for every global transaction that this client launches with [`Seata::transaction`].
    pub fn hook(mut self, hook: Arc<dyn TxHook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// What is told when a transaction cannot begin or end as it should. Default: the log.
    pub fn failure_handler(mut self, handler: Arc<dyn FailureHandler>) -> Self {
        self.failures = handler;
        self
    }

    /// Starts the client: one thread, connections to every coordinator of the group. Gives the handle, and the future that
    /// the host spawns so that second phases can run.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be used, [`Error::Unreachable`] when no coordinator can be reached
    /// (see [`Start`]).
    ///
    /// # Cancel safety
    /// Dropping the future ends what it started.
    pub async fn build(self) -> Result<(Seata, Background), Error> {
        self.start()?.ready().await
    }

    /// As [`SeataBuilder::build`] on another network and clock. The caller turns the reactor, from before it waits for the rest.
    #[cfg(feature = "sim")]
    pub(crate) fn build_on<D: Driver, C: Clock>(
        self,
        driver: D,
        clock: C,
    ) -> Result<(Unturned<D, C>, Started), Error> {
        let assembled = self.assemble(epoch_ms, |config, wire| {
            Reactor::with(config, wire, driver, clock)
                .map_err(|error| Error::Invalid(format!("the client cannot start: {error}")))
        })?;
        let unturned = Unturned {
            reactor: assembled.reactor,
            inbox: assembled.inbox,
            jobs: assembled.jobs,
        };
        Ok((unturned, assembled.started))
    }

    fn start(self) -> Result<Started, Error> {
        let assembled = self.assemble(epoch_ms, |config, wire| {
            Reactor::new(config, wire).map_err(|error| {
                Error::Invalid(format!("the client's thread cannot start: {error}"))
            })
        })?;
        let Assembled {
            mut reactor,
            started,
            inbox,
            jobs,
        } = assembled;
        let thread = std::thread::Builder::new().name("seamio-client".to_owned());
        let run = move || {
            if let Err(error) = reactor.run() {
                log::error!("event=client-failed error={error}");
            }
            drop(reactor);
            inbox.close();
            jobs.close();
        };
        thread.spawn(run).map_err(|error| {
            Error::Invalid(format!("the client's thread cannot start: {error}"))
        })?;
        Ok(started)
    }

    /// Everything but the thread.
    pub(crate) fn assemble<D: Driver, C: Clock>(
        self,
        wall_ms: fn() -> u64,
        reactor: impl FnOnce(Config, Wire) -> Result<Reactor<Wire, D, C>, Error>,
    ) -> Result<Assembled<D, C>, Error> {
        let addresses = self.checked()?;
        let counters = Arc::new(Counters::default());
        let inbox = Arc::new(Inbox::default());
        let jobs = Arc::new(Jobs::new(self.options.phase_two_queue));
        let identity = Identity {
            application: self.application.as_str().into(),
            group: self.group.as_str().into(),
        };
        let exchange = Exchange::new(self.options.clone(), identity, Arc::clone(&counters));
        let desk = Desk {
            exchange,
            inbox: Arc::clone(&inbox),
            commands: Default::default(),
            jobs: Arc::clone(&jobs),
            connect: self.connect,
            credentials: self.credentials,
            group: self.group,
            wall_ms,
            handle: None,
            links: Default::default(),
            resources: Default::default(),
        };
        let wire = Wire::new(self.options.frame_bytes_max, desk);
        let reactor = reactor(net_config(&self.options), wire)?;
        let (ready, waiting) = match self.options.start {
            Start::AtOnce => (None, None),
            Start::WithinOrFail(within) => {
                let (sink, waiting) = ticket();
                (Some((within, sink)), Some(waiting))
            }
        };
        inbox.push(Command::Start {
            handle: reactor.handle(),
            addresses,
            ready,
        });
        let concurrency = self.options.phase_two_concurrency;
        let background = Background::new(
            Arc::clone(&jobs),
            Arc::clone(&inbox),
            Arc::clone(&counters),
            concurrency,
        );
        let inner = Inner {
            bypass: Bypass::new(self.options.global_transactions, self.options.degrade_check),
            options: self.options,
            counters,
            hooks: self.hooks,
            failures: self.failures,
            handle: reactor.handle(),
            inbox: Arc::clone(&inbox),
            jobs: Arc::clone(&jobs),
            next_call: AtomicU64::new(1),
        };
        let seata = Seata {
            inner: Arc::new(inner),
        };
        if let Some(check) = seata.inner.options.degrade_check {
            let probe = probe(Arc::downgrade(&seata.inner), check);
            seata.inner.spawn_loop(Box::pin(probe));
        }
        let started = Started {
            seata,
            background,
            ready: waiting,
        };
        Ok(Assembled {
            reactor,
            started,
            inbox,
            jobs,
        })
    }

    fn checked(&self) -> Result<Vec<String>, Error> {
        if self.application.is_empty() || self.application.contains([',', ':']) {
            let what = "the application's name is empty or holds a comma or a colon: set it with application()";
            return Err(Error::Invalid(what.to_owned()));
        }
        if self.group.is_empty() {
            return Err(Error::Invalid(
                "the transaction service group is empty".to_owned(),
            ));
        }
        self.registry.addresses(&self.group)
    }
}

/// A client that runs.
pub(crate) struct Started {
    pub(crate) seata: Seata,
    pub(crate) background: Background,
    ready: Option<Ticket<Result<(), Error>>>,
}

impl Started {
    /// Waits for what [`Start`] says.
    pub(crate) async fn ready(self) -> Result<(Seata, Background), Error> {
        if let Some(ready) = self.ready {
            ready.await.unwrap_or(Err(Error::Closed))?;
        }
        Ok((self.seata, self.background))
    }
}

/// A client whose reactor nobody turns yet.
pub(crate) struct Assembled<D: Driver, C: Clock> {
    pub(crate) reactor: Reactor<Wire, D, C>,
    pub(crate) started: Started,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) jobs: Arc<Jobs>,
}

/// A client whose reactor its owner turns.
#[cfg(feature = "sim")]
pub(crate) struct Unturned<D: Driver, C: Clock> {
    pub(crate) reactor: Reactor<Wire, D, C>,
    inbox: Arc<Inbox>,
    jobs: Arc<Jobs>,
}

#[cfg(feature = "sim")]
impl<D: Driver, C: Clock> Drop for Unturned<D, C> {
    fn drop(&mut self) {
        self.inbox.close();
        self.jobs.close();
    }
}

fn net_config(options: &ClientOptions) -> Config {
    Config {
        session: SessionConfig {
            max_frame: options.frame_bytes_max,
            idle_timeout: options.idle_timeout,
            hard_limit: options.queued_bytes_max,
            overflow: Overflow::Close,
            ..SessionConfig::default()
        },
        workers: Workers {
            lanes: 1,
            ..Workers::default()
        },
        ..Config::default()
    }
}

impl Inner {
    /// Sends a request and gives the future of its answer.
    pub(super) fn ask(self: &Arc<Self>, request: Request) -> Asking {
        let id = self.call_id();
        let (sink, ticket) = ticket();
        self.inbox.push(Command::Ask {
            id,
            request,
            sink: Some(sink),
        });
        Asking {
            inner: Arc::clone(self),
            id,
            ticket: Some(ticket),
        }
    }

    /// Sends a request whose answer nobody waits for.
    pub(super) fn tell(&self, request: Request) {
        let id = self.call_id();
        self.inbox.push(Command::Ask {
            id,
            request,
            sink: None,
        });
    }

    /// Has a transaction rolled back that nobody will end any more. Never blocks.
    pub(super) fn abandon(&self, xid: Text) {
        let options = &self.options;
        let attempt = options.tm_request_timeout;
        self.tell(Request::rollback(xid, attempt, options.rollback_retry));
    }

    pub(super) fn push(&self, command: Command) {
        self.inbox.push(command);
    }

    pub(super) fn spawn(&self, future: BoxFuture<()>) {
        self.inbox.push(Command::Hold);
        if let Err(future) = self.jobs.spawn(Spawned::Finite(future)) {
            drop(future);
            self.inbox.push(Command::Release);
        }
    }

    pub(super) fn spawn_loop(&self, future: BoxFuture<()>) {
        drop(self.jobs.spawn(Spawned::Loop(future)));
    }

    /// The machine's address, as the coordinators may see it; None before the first connection.
    pub(super) fn local_address(&self) -> Option<IpAddr> {
        self.inbox.local()
    }

    fn call_id(&self) -> CallId {
        CallId(self.next_call.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What guards left behind, their rollbacks above all, still gets its chance.
        self.inbox.push(Command::Close {
            grace: LAST_WORDS,
            sink: None,
        });
    }
}

/// The future of an answer. Dropped before it came, it takes the request back: see [`Exchange::handle_forget`].
pub(super) struct Asking {
    inner: Arc<Inner>,
    id: CallId,
    ticket: Option<Ticket<Answer>>,
}

impl Future for Asking {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = &mut self.ticket else {
            return Poll::Ready(Err(Error::Closed));
        };
        match Pin::new(ticket).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(answer) => {
                self.ticket = None;
                Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        match ticket.close() {
            // It came and nobody took it: a transaction that nobody knows is rolled back.
            Some(Ok(reply)) => {
                if let Message::GlobalBeginResponse(begin) = reply.message
                    && begin.result == TxResult::Success
                {
                    self.inner.abandon(begin.xid);
                }
            }
            Some(Err(_)) => {}
            None => self.inner.push(Command::Forget(self.id)),
        }
    }
}

/// The longest pause before another attempt to connect.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long what is under way may take when the last handle is gone.
const LAST_WORDS: Duration = Duration::from_secs(5);
