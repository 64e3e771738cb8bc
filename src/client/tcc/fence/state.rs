//! The states of a fenced branch, and what a phase that finds one has to do (client.md 6.4).

/// What a row of the fence says about its branch. The numbers are Java's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The try was done.
    Tried,
    /// The confirm was done.
    Committed,
    /// The cancel was done.
    Rollbacked,
    /// The cancel came first; there was nothing to do, and the try has to stay away.
    Suspended,
}

/// A phase that a fence can guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Phase {
    /// Phase one.
    Try,
    /// Phase two after a commit.
    Confirm,
    /// Phase two after a rollback.
    Cancel,
}

/// What a second phase has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Run the action, and keep that it was done.
    Run {
        /// The state it then has.
        to: State,
    },
    /// It was done, or there is nothing to do: answer so.
    Done,
    /// The try was not done, or its transaction is not committed yet: later.
    NotTried,
    /// The other phase was done: it will never be possible.
    Contradiction,
}

impl State {
    pub(super) const fn code(self) -> i8 {
        match self {
            Self::Tried => 1,
            Self::Committed => 2,
            Self::Rollbacked => 3,
            Self::Suspended => 4,
        }
    }

    pub(super) const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Tried),
            2 => Some(Self::Committed),
            3 => Some(Self::Rollbacked),
            4 => Some(Self::Suspended),
            _ => None,
        }
    }
}

/// What a confirm has to do. Java answers a contradiction with "later", for ever; nothing would ever change it.
pub(super) fn confirm(found: Option<State>) -> Verdict {
    match found {
        None => Verdict::NotTried,
        Some(State::Tried) => Verdict::Run {
            to: State::Committed,
        },
        Some(State::Committed) => Verdict::Done,
        Some(State::Rollbacked | State::Suspended) => Verdict::Contradiction,
    }
}

/// What a cancel has to do, after it has put [`State::Suspended`] where no row was.
pub(super) fn cancel(found: Option<State>) -> Verdict {
    match found {
        None => Verdict::NotTried,
        Some(State::Tried) => Verdict::Run {
            to: State::Rollbacked,
        },
        Some(State::Rollbacked | State::Suspended) => Verdict::Done,
        Some(State::Committed) => Verdict::Contradiction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_knows_what_to_do_in_each_state() {
        let run = |to| Verdict::Run { to };
        for (found, on_confirm, on_cancel) in [
            (None, Verdict::NotTried, Verdict::NotTried),
            (
                Some(State::Tried),
                run(State::Committed),
                run(State::Rollbacked),
            ),
            (
                Some(State::Committed),
                Verdict::Done,
                Verdict::Contradiction,
            ),
            (
                Some(State::Rollbacked),
                Verdict::Contradiction,
                Verdict::Done,
            ),
            (
                Some(State::Suspended),
                Verdict::Contradiction,
                Verdict::Done,
            ),
        ] {
            assert_eq!(confirm(found), on_confirm, "{found:?}");
            assert_eq!(cancel(found), on_cancel, "{found:?}");
        }
    }

    #[test]
    fn states_have_javas_numbers() {
        for code in 1..=4 {
            let state = State::from_code(code).expect("a state");
            assert_eq!(i64::from(state.code()), code);
        }
        assert!(State::from_code(0).is_none() && State::from_code(5).is_none());
    }
}
