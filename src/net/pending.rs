//! An answer that comes later: a future for any executor, a blocking wait, or a callback (network.md B.27).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::error::Error;
use super::turning;

/// An answer that is not there yet.
///
/// Await it (on any executor), [`Pending::wait`] for it, or hand it to [`Pending::then`]. Dropping it gives up: a reply
/// that still comes is counted in [`Metrics::late_replies`](super::Metrics::late_replies) and dropped. Once it has given its
/// answer as a future it must not be polled again.
///
/// ```no_run
/// use std::time::Duration;
/// use seamio::net::{Callbacks, Error, Lines, Session};
///
/// fn ask(session: &Session<Callbacks<Lines>>) -> Result<(), Error> {
///     let second = Duration::from_secs(1);
///     // On a thread of the application: wait.
///     let answer = session.call(1, "1 how much?".into(), second).wait()?;
///     // In a callback of the reactor, which must not wait: say what comes next.
///     session.call(2, format!("2 {answer}?"), second).then(|answer| match answer {
///         Ok(text) => println!("{text}"),
///         Err(error) => println!("no answer: {error}"),
///     });
///     Ok(())
/// }
/// ```
#[must_use = "dropping it gives up waiting"]
pub struct Pending<T> {
    slot: Arc<Slot<T>>,
    give_up: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl<T> Pending<T> {
    /// A pending answer and the place to put it.
    pub(crate) fn new() -> (Completion<T>, Pending<T>) {
        let slot = Arc::new(Slot {
            state: Mutex::new(State::Waiting(None)),
            done: Condvar::new(),
        });
        let completion = Completion {
            slot: Some(Arc::clone(&slot)),
        };
        (
            completion,
            Pending {
                slot,
                give_up: None,
            },
        )
    }

    /// What to do when it is dropped before the answer came.
    pub(crate) fn on_give_up(mut self, give_up: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.give_up = Some(Box::new(give_up));
        self
    }

    /// Blocks until the answer is there. It needs no time limit of its own: a call has one, and a reactor that ends
    /// answers with [`Error::ReactorGone`].
    ///
    /// # Errors
    /// Whatever kept the answer from coming. [`Error::OnReactor`] in a callback of a reactor, unless the answer is there
    /// already: the thread that would have to wait is the one that everything else waits for.
    pub fn wait(mut self) -> Result<T, Error> {
        let mut state = self.slot.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => {
                    drop(state);
                    self.give_up = None;
                    return result;
                }
                waiting => *state = waiting,
            }
            if turning::here() {
                drop(state);
                return Err(Error::OnReactor);
            }
            state = self
                .slot
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls `callback` with the answer: at once if it is there, else on the thread that brings it. From then on
    /// nothing gives up waiting.
    pub fn then(mut self, callback: impl FnOnce(Result<T, Error>) + Send + 'static) {
        self.give_up = None;
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => {
                drop(state);
                callback(result);
            }
            _ => *state = State::Callback(Box::new(callback)),
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => {
                drop(state);
                self.give_up = None;
                Poll::Ready(result)
            }
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => {
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
            _ => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some(give_up) = self.give_up.take()
            && !matches!(*self.slot.lock(), State::Done(_))
        {
            give_up();
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// The place for an answer. Dropped without one, it answers that the reactor is gone.
pub(crate) struct Completion<T> {
    slot: Option<Arc<Slot<T>>>,
}

impl<T> Completion<T> {
    /// Gives the answer and wakes whoever waits for it.
    pub(crate) fn complete(mut self, result: Result<T, Error>) {
        if let Some(slot) = self.slot.take() {
            slot.put(result);
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.put(Err(Error::ReactorGone));
        }
    }
}

struct Slot<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

enum State<T> {
    Waiting(Option<Waker>),
    Callback(Callback<T>),
    Done(Result<T, Error>),
    Taken,
}

type Callback<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No user code runs under this lock, so a poisoned one holds nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, result: Result<T, Error>) {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Callback(callback) => {
                drop(state);
                callback(result);
            }
            State::Waiting(waker) => {
                *state = State::Done(result);
                drop(state);
                self.done.notify_all();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            other => *state = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_a_task_once_and_hands_the_value_over() {
        let (completion, mut pending) = Pending::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut pending).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut pending).poll(&mut cx).is_pending());
        completion.complete(Ok(7));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(matches!(
            Pin::new(&mut pending).poll(&mut cx),
            Poll::Ready(Ok(7))
        ));
    }

    #[test]
    fn waits_across_threads_and_a_lost_completion_is_an_error() {
        let (completion, pending) = Pending::new();
        let waiter = std::thread::spawn(move || pending.wait());
        completion.complete(Ok("late"));
        assert_eq!(waiter.join().expect("no panic").expect("value"), "late");
        let (completion, pending) = Pending::<()>::new();
        drop(completion);
        assert!(matches!(pending.wait(), Err(Error::ReactorGone)));
    }

    #[test]
    fn gives_up_only_when_dropped_early() {
        let gave_up = Arc::new(AtomicUsize::new(0));
        let note = |counter: &Arc<AtomicUsize>| {
            let counter = Arc::clone(counter);
            move || _ = counter.fetch_add(1, Ordering::SeqCst)
        };
        let (_completion, pending) = Pending::<()>::new();
        drop(pending.on_give_up(note(&gave_up)));
        assert_eq!(gave_up.load(Ordering::SeqCst), 1);
        let (completion, pending) = Pending::new();
        let pending = pending.on_give_up(note(&gave_up));
        completion.complete(Ok(()));
        pending.wait().expect("value");
        assert_eq!(gave_up.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_callback_gets_the_value_on_either_side() {
        let seen = Arc::new(AtomicUsize::new(0));
        for early in [true, false] {
            let (completion, pending) = Pending::new();
            let seen = Arc::clone(&seen);
            let callback = move |r: Result<usize, Error>| {
                seen.fetch_add(r.expect("value"), Ordering::SeqCst);
            };
            if early {
                completion.complete(Ok(1));
                pending.then(callback);
            } else {
                pending.then(callback);
                completion.complete(Ok(10));
            }
        }
        assert_eq!(seen.load(Ordering::SeqCst), 11);
    }
}
