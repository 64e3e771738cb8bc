//! Waiting for a future without an executor: the blocking form of every call of the client.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Runs a future of the client to its end on this thread, which sleeps meanwhile. The blocking form of every call:
/// `wait(seata.begin(options))`, `wait(tx.commit())`.
///
/// A whole transaction, in code that knows no futures: what blocks stands in the closure, and may wait itself.
///
/// ```no_run
/// use seamio::client::{GlobalTx, Seata, TxOptions, wait};
///
/// fn place(tx: &GlobalTx) -> std::io::Result<u64> {
///     println!("in {}", tx.xid()); // blocking work, and calls of others
///     Ok(7)
/// }
///
/// # fn run(seata: Seata) -> Result<(), Box<dyn std::error::Error>> {
/// let order = wait(seata.transaction(TxOptions::new("place-order"), |tx| async move { place(&tx) }))?;
/// println!("order {order} is placed");
///
/// let tx = wait(seata.begin(TxOptions::new("by-hand")))?;
/// let outcome = wait(tx.commit());
/// # let _ = outcome;
/// # Ok(())
/// # }
/// ```
///
/// Every future of the client needs only a waker, so it works with this as with any executor. Futures of the host that need
/// a runtime (sqlx's, for example) need that runtime here too. Within an async runtime use `.await` instead: this blocks its
/// thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    let parked = Arc::new(Parked {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&parked));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        while !parked.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;

    struct Yields(u32);

    impl Future for Yields {
        type Output = &'static str;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'static str> {
            if self.0 == 0 {
                return Poll::Ready("done");
            }
            self.0 -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[test]
    fn waits_until_the_end() {
        assert_eq!(wait(Yields(3)), "done");
        assert_eq!(wait(async { Yields(2).await.len() }), 4);
    }
}
