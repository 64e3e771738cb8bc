//! An answer that comes once: the place to put it, and the future of who waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A place for one answer, and the future of it.
pub(crate) fn ticket<T>() -> (Sink<T>, Ticket<T>) {
    let slot = Arc::new(Slot {
        state: Mutex::new(State::Waiting(None)),
    });
    let sink = Sink {
        slot: Some(Arc::clone(&slot)),
    };
    (sink, Ticket { slot })
}

/// Where the answer is put. Dropped without one, it tells the other side that none will come.
pub(crate) struct Sink<T> {
    slot: Option<Arc<Slot<T>>>,
}

/// The future of the answer: `None` when the sink was dropped without one.
pub(crate) struct Ticket<T> {
    slot: Arc<Slot<T>>,
}

struct Slot<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    Waiting(Option<Waker>),
    Done(T),
    /// No answer will come, or it has been taken.
    Gone,
    /// Nobody waits any more.
    Closed,
}

impl<T> Sink<T> {
    /// Puts the answer and wakes whoever waits. Gives it back when nobody does: see [`Ticket::close`].
    pub(crate) fn send(mut self, answer: T) -> Result<(), T> {
        match self.slot.take() {
            Some(slot) => match slot.put(State::Done(answer)) {
                Some(State::Done(answer)) => Err(answer),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl<T> Drop for Sink<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let _ = slot.put(State::Gone);
        }
    }
}

impl<T> Ticket<T> {
    /// Waits no more, and takes the answer if it has come. From now on [`Sink::send`] gives it back: one of the two sides
    /// has it, whatever comes first.
    pub(crate) fn close(self) -> Option<T> {
        let before = std::mem::replace(&mut *self.slot.lock(), State::Closed);
        match before {
            State::Done(answer) => Some(answer),
            _ => None,
        }
    }

    /// The answer, if it is there.
    #[cfg(test)]
    pub(crate) fn try_take(&mut self) -> Option<T> {
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Done(answer) => Some(answer),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl<T> Future for Ticket<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.slot.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Done(answer) => Poll::Ready(Some(answer)),
            State::Gone | State::Closed => Poll::Ready(None),
            State::Waiting(waker) => {
                let waker = match waker {
                    Some(waker) if waker.will_wake(cx.waker()) => waker,
                    _ => cx.waker().clone(),
                };
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
        }
    }
}

impl<T> Slot<T> {
    /// Gives back what is put where nobody waits.
    fn put(&self, answer: State<T>) -> Option<State<T>> {
        let mut state = self.lock();
        if matches!(*state, State::Closed) {
            return Some(answer);
        }
        let before = std::mem::replace(&mut *state, answer);
        drop(state);
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wait;

    #[test]
    fn the_answer_comes_before_or_after_the_wait() {
        let (sink, waiting) = ticket();
        assert_eq!(sink.send(1), Ok(()));
        assert_eq!(wait(waiting), Some(1));
        let (sink, waiting) = ticket();
        let other = std::thread::spawn(move || wait(waiting));
        assert_eq!(sink.send(2), Ok(()));
        assert_eq!(other.join().expect("no panic"), Some(2));
    }

    #[test]
    fn a_dropped_sink_ends_the_wait() {
        let (sink, waiting) = ticket::<u8>();
        drop(sink);
        assert_eq!(wait(waiting), None);
    }

    #[test]
    fn an_answer_is_on_one_side_whatever_comes_first() {
        let (sink, waiting) = ticket();
        assert_eq!(sink.send(1), Ok(()));
        assert_eq!(waiting.close(), Some(1));
        let (sink, waiting) = ticket();
        assert_eq!(waiting.close(), None);
        assert_eq!(sink.send(2), Err(2));
    }

    #[test]
    fn an_answer_can_be_taken_without_waiting_once() {
        let (sink, mut waiting) = ticket();
        assert_eq!(waiting.try_take(), None);
        assert_eq!(sink.send(3), Ok(()));
        assert_eq!(waiting.try_take(), Some(3));
        assert_eq!(waiting.try_take(), None);
    }
}
