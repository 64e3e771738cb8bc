//! Layers for HTTP servers and clients built on tower (axum, hyper, tonic): the headers of a transaction are read and written
//! without the application's doing (client.md 2.5).

use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::Seata;
use super::context::{Scope, entered};
use crate::proto::status::BranchType;

/// For servers: runs each request in the global transaction that its headers name, as a participant.
///
/// The transaction is current for the request's code ([`Seata::current`]), lies in the request's extensions as a
/// [`GlobalTx`](super::GlobalTx), and is out of sight when the request is over, however it ends. A request without the header
/// runs without a transaction, also where the server's own task has one; so does one whose header holds no xid, with a line
/// in the log.
#[derive(Clone, Debug)]
pub struct JoinLayer {
    seata: Seata,
}

/// The service of a [`JoinLayer`].
#[derive(Clone, Debug)]
pub struct Join<S> {
    seata: Seata,
    inner: S,
}

/// For clients: writes the headers of the current global transaction into each request; none where there is none.
#[derive(Clone, Copy, Debug)]
pub struct InjectLayer {
    branch_type: BranchType,
}

/// The service of an [`InjectLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Inject<S> {
    branch_type: BranchType,
    inner: S,
}

impl JoinLayer {
    /// Joins transactions with this client.
    pub fn new(seata: Seata) -> Self {
        Self { seata }
    }
}

impl InjectLayer {
    /// Tells the callee that the caller's own branches are of this type.
    pub fn new(branch_type: BranchType) -> Self {
        Self { branch_type }
    }
}

impl<S> Layer<S> for JoinLayer {
    type Service = Join<S>;

    fn layer(&self, inner: S) -> Join<S> {
        Join {
            seata: self.seata.clone(),
            inner,
        }
    }
}

impl<S> Layer<S> for InjectLayer {
    type Service = Inject<S>;

    fn layer(&self, inner: S) -> Inject<S> {
        Inject {
            branch_type: self.branch_type,
            inner,
        }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Join<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scope<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let tx = match self.seata.extract(request.headers()) {
            Ok(tx) => tx,
            Err(error) => {
                log::error!("event=bad-header {error}");
                None
            }
        };
        if let Some(tx) = &tx {
            request.extensions_mut().insert(tx.clone());
        }
        let future = entered(tx.clone(), || self.inner.call(request));
        Scope::new(tx, future)
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Inject<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(tx) = Seata::current() {
            tx.inject(self.branch_type, request.headers_mut());
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use http::HeaderMap;

    use super::*;
    use crate::client::{ClientOptions, GlobalTx, HeaderCarrier as _, Start, wait};

    /// Answers with the transaction that is current when it is called and when its future runs, and with that of the request.
    #[derive(Clone)]
    struct Echo;

    type Seen = [Option<String>; 3];

    impl Service<Request<()>> for Echo {
        type Response = Seen;
        type Error = ();
        type Future = std::pin::Pin<Box<dyn Future<Output = Result<Seen, ()>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let xid = |tx: Option<GlobalTx>| tx.map(|tx| tx.xid().to_string());
            let called = xid(Seata::current());
            let given = xid(request.extensions().get::<GlobalTx>().cloned());
            Box::pin(async move { Ok([called, xid(Seata::current()), given]) })
        }
    }

    /// Answers with the request's headers.
    struct Show;

    impl Service<Request<()>> for Show {
        type Response = HeaderMap;
        type Error = ();
        type Future = Ready<Result<HeaderMap, ()>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            ready(Ok(request.headers().clone()))
        }
    }

    fn seata() -> Seata {
        let options = ClientOptions {
            start: Start::AtOnce,
            ..ClientOptions::default()
        };
        let builder = Seata::builder().application("test").options(options);
        let (seata, _background) = wait(builder.build()).expect("it waits for nothing");
        seata
    }

    fn request(xid: &str) -> Request<()> {
        let mut request = Request::new(());
        request.headers_mut().set_header("TX_XID", xid);
        request
    }

    #[test]
    fn a_request_runs_in_the_transaction_of_its_header_and_in_no_other() {
        let seata = seata();
        let mut service = JoinLayer::new(seata.clone()).layer(Echo);
        let xid = Some("10.0.0.1:8091:7".to_owned());
        let seen = wait(service.call(request("10.0.0.1:8091:7")));
        assert_eq!(seen, Ok([xid.clone(), xid.clone(), xid]));
        assert!(Seata::current().is_none());
        // The server's own transaction is none of the request's.
        let own = seata.join("10.0.0.1:8091:8");
        for without in [Request::new(()), request("nonsense")] {
            let seen = wait(own.scope(async { service.call(without).await }));
            assert_eq!(seen, Ok([None, None, None]));
        }
    }

    #[test]
    fn a_request_carries_the_current_transaction() {
        let mut service = InjectLayer::new(BranchType::At).layer(Show);
        let headers = wait(service.call(Request::new(()))).expect("headers");
        assert!(headers.is_empty());
        let tx = seata().join("10.0.0.1:8091:7");
        let headers = wait(tx.scope(async { service.call(Request::new(())).await }));
        let headers = headers.expect("headers");
        assert_eq!(headers.header("TX_XID").as_deref(), Some("10.0.0.1:8091:7"));
        assert_eq!(headers.header("TX_BRANCH_TYPE").as_deref(), Some("AT"));
    }
}
