//! Which global transaction the running code is in: set for each poll of a future, restored after it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::tm::{GlobalTx, TxRole};

thread_local! {
    static CURRENT: RefCell<Option<GlobalTx>> = const { RefCell::new(None) };
}

/// The transaction that the running code is in.
pub(super) fn current() -> Option<GlobalTx> {
    CURRENT.with_borrow(Clone::clone)
}

/// A future that runs in a global transaction, or in none. See [`GlobalTx::scope`] and [`without_transaction`].
#[must_use = "futures do nothing unless polled"]
pub struct Scope<F> {
    tx: Option<GlobalTx>,
    future: Pin<Box<F>>,
}

impl<F: Future> Scope<F> {
    pub(super) fn new(tx: Option<GlobalTx>, future: F) -> Self {
        Self {
            tx: tx.filter(|tx| tx.role() != TxRole::Absent),
            future: Box::pin(future),
        }
    }
}

/// Runs a future with no global transaction in sight: one that is there is suspended, and there again afterwards.
pub fn without_transaction<F: Future>(future: F) -> Scope<F> {
    Scope::new(None, future)
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(self.tx.clone());
        self.future.as_mut().poll(cx)
    }
}

/// Runs code without futures in a global transaction, or in none.
#[cfg(feature = "tower")]
pub(super) fn entered<T>(tx: Option<GlobalTx>, code: impl FnOnce() -> T) -> T {
    let _entered = Entered::new(tx);
    code()
}

/// Code without futures in a global transaction, until it is dropped.
struct Entered {
    outer: Option<GlobalTx>,
}

impl Entered {
    fn new(tx: Option<GlobalTx>) -> Self {
        Self {
            outer: CURRENT.replace(tx),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let inner = CURRENT.replace(self.outer.take());
        drop(inner);
    }
}
