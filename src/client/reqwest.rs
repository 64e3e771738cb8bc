//! A middleware for clients built on reqwest: each request carries the global transaction that it is made in (client.md 2.5).
//!
//! reqwest itself has no place for such a thing; `reqwest-middleware` adds one around it. The features of both are the host's:
//! nothing here switches on TLS.
//!
//! ```no_run
//! use reqwest_middleware::{ClientBuilder, reqwest};
//! use seamio::client::reqwest::Inject;
//! use seamio::proto::status::BranchType;
//!
//! # async fn run(tx: seamio::client::GlobalTx) -> Result<(), reqwest_middleware::Error> {
//! let client = ClientBuilder::new(reqwest::Client::new()).with(Inject::new(BranchType::At)).build();
//! tx.scope(async { client.post("http://stock/take").send().await }).await?;
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::pin::Pin;

use http::Extensions;
use reqwest_middleware::reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};

use super::Seata;
use crate::proto::status::BranchType;

/// Writes the headers of the current global transaction into each request; none where there is none.
///
/// The transaction is that of the task that awaits the request: within [`GlobalTx::scope`](super::GlobalTx::scope), or in the
/// closure of [`Seata::transaction`]. A request that is spawned as a task of its own is in none, unless its future is put in a
/// scope. Requests that another middleware repeats carry it each time.
#[derive(Clone, Copy, Debug)]
pub struct Inject {
    branch_type: BranchType,
}

impl Inject {
    /// Tells the callee that the caller's own branches are of this type.
    pub fn new(branch_type: BranchType) -> Self {
        Self { branch_type }
    }
}

/// The trait is written for a macro that names its lifetimes so.
impl Middleware for Inject {
    fn handle<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        mut request: Request,
        extensions: &'life1 mut Extensions,
        next: Next<'life2>,
    ) -> Pin<Box<dyn Future<Output = Result<Response>> + Send + 'async_trait>>
    where
        Self: 'async_trait,
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
    {
        if let Some(tx) = Seata::current() {
            tx.inject(self.branch_type, request.headers_mut());
        }
        next.run(request, extensions)
    }
}
