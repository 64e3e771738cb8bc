//! The life of a session as a pure value: events in, actions out, no socket (network.md B.11).
//!
//! | phase | reads | takes sends | ends with |
//! |---|---|---|---|
//! | open | yes | yes | the peer finishing, a close, a failure |
//! | write-only | no | yes | a close, a failure (only with half-close) |
//! | flushing | no | no | an empty outbox |
//! | discarding | and throws away | no | the peer finishing |
//! | closed | no | no | |
//!
//! Flushing and discarding are bounded by one drain timer. Closing a socket with unread input would send a reset, which
//! can destroy answers in flight: hence the discarding. Every life ends in *closed*, once, with one reason.

use super::error::CloseReason;

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    WriteOnly,
    Flushing {
        reason: CloseReason,
        peer_finished: bool,
    },
    Discarding {
        reason: CloseReason,
    },
    Closed {
        reason: CloseReason,
    },
}

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incident {
    /// The peer will send no more; whether it stopped in the middle of a frame.
    PeerFinished { truncated: bool },
    /// A graceful close was asked for.
    Close(CloseReason),
    /// The end, without waiting for anything.
    Abort(CloseReason),
    /// The connection broke.
    Failed(CloseReason),
    /// The outbox is empty.
    Flushed,
    /// The drain timer fired.
    DrainExpired,
}

/// What the owner has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// Refuse sends, start the drain timer, write what waits; report [`Incident::Flushed`] when it is out.
    Flush,
    /// Read no more; sends go on.
    StopReading,
    /// End the sending direction; read and throw away until the peer finishes.
    Discard,
    /// Drop the socket; everything is said and read.
    Finish,
    /// Drop the socket and discard what is unsent.
    Reset,
}

/// A session's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifecycle {
    phase: Phase,
    half_close: bool,
}

impl Lifecycle {
    /// A session just connected.
    pub(crate) fn new(half_close: bool) -> Self {
        Lifecycle {
            phase: Phase::Open,
            half_close,
        }
    }

    /// Whether the session outlives the end of the peer's sending direction.
    pub(crate) fn set_half_close(&mut self, half_close: bool) {
        self.half_close = half_close;
    }

    /// Takes note of what happened and says what to do.
    pub(crate) fn handle(&mut self, incident: Incident) -> Action {
        let (phase, action) = self.step(incident);
        self.phase = phase;
        action
    }

    /// Where the session is.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether messages of the peer are wanted.
    #[inline]
    pub(crate) fn receives(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether sends are taken.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::WriteOnly)
    }

    /// Whether bytes of the peer are read only to be thrown away.
    pub(crate) fn discards(&self) -> bool {
        matches!(self.phase, Phase::Discarding { .. })
    }

    /// Why it ends or has ended, once it does.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Open | Phase::WriteOnly => None,
            Phase::Flushing { reason, .. }
            | Phase::Discarding { reason }
            | Phase::Closed { reason } => Some(reason),
        }
    }

    /// Why it ended, if it has.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closed { reason } => Some(reason),
            _ => None,
        }
    }

    fn step(&self, incident: Incident) -> (Phase, Action) {
        use Incident as I;
        use Phase as P;
        match (self.phase, incident) {
            (closed @ P::Closed { .. }, _) => (closed, Action::Nothing),
            (P::Open, I::PeerFinished { truncated: false }) if self.half_close => {
                (P::WriteOnly, Action::StopReading)
            }
            (P::Open, I::PeerFinished { truncated }) => {
                let reason = if truncated {
                    CloseReason::Truncated
                } else {
                    CloseReason::Peer
                };
                (
                    P::Flushing {
                        reason,
                        peer_finished: true,
                    },
                    Action::Flush,
                )
            }
            (P::Open, I::Close(reason)) => (
                P::Flushing {
                    reason,
                    peer_finished: false,
                },
                Action::Flush,
            ),
            (P::WriteOnly, I::Close(reason)) => (
                P::Flushing {
                    reason,
                    peer_finished: true,
                },
                Action::Flush,
            ),
            (
                P::Flushing {
                    reason,
                    peer_finished: true,
                },
                I::Flushed,
            ) => (P::Closed { reason }, Action::Finish),
            (
                P::Flushing {
                    reason,
                    peer_finished: false,
                },
                I::Flushed,
            ) => (P::Discarding { reason }, Action::Discard),
            (P::Flushing { reason, .. }, I::PeerFinished { .. }) => (
                P::Flushing {
                    reason,
                    peer_finished: true,
                },
                Action::Nothing,
            ),
            // All of ours is with the kernel: how the peer ends now no longer changes the reason.
            (P::Discarding { reason }, I::PeerFinished { .. } | I::Failed(_)) => {
                (P::Closed { reason }, Action::Finish)
            }
            (P::Flushing { reason, .. } | P::Discarding { reason }, I::DrainExpired) => {
                let reason = match reason {
                    CloseReason::Local => CloseReason::DrainTimeout,
                    other => other,
                };
                (P::Closed { reason }, Action::Reset)
            }
            // A close that is under way keeps its reason, unless that would claim a success.
            (P::Flushing { reason, .. } | P::Discarding { reason }, I::Abort(why)) => {
                let reason = if reason == CloseReason::Local {
                    why
                } else {
                    reason
                };
                (P::Closed { reason }, Action::Reset)
            }
            (P::Flushing { reason, .. }, I::Failed(why)) => {
                let reason = if reason == CloseReason::Local {
                    why
                } else {
                    reason
                };
                (P::Closed { reason }, Action::Finish)
            }
            (_, I::Abort(reason)) => (P::Closed { reason }, Action::Reset),
            (_, I::Failed(reason)) => (P::Closed { reason }, Action::Finish),
            (phase, I::Close(_) | I::Flushed | I::PeerFinished { .. } | I::DrainExpired) => {
                (phase, Action::Nothing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    const FINISHED: Incident = Incident::PeerFinished { truncated: false };

    fn life(half_close: bool, incidents: &[Incident]) -> (Vec<Action>, Lifecycle) {
        let mut life = Lifecycle::new(half_close);
        let actions = incidents.iter().map(|i| life.handle(*i)).collect();
        (actions, life)
    }

    #[test]
    fn graceful_close_flushes_shuts_down_and_discards() {
        let close = Incident::Close(CloseReason::Local);
        let (actions, life) = life(false, &[close, Incident::Flushed, FINISHED]);
        assert_eq!(actions, [Action::Flush, Action::Discard, Action::Finish]);
        assert_eq!(life.closed(), Some(CloseReason::Local));
    }

    #[test]
    fn peer_finish_flushes_and_closes_without_half_close() {
        let (actions, life) = life(false, &[FINISHED, Incident::Flushed]);
        assert_eq!(actions, [Action::Flush, Action::Finish]);
        assert_eq!(life.closed(), Some(CloseReason::Peer));
    }

    #[test]
    fn peer_finish_within_a_frame_is_told_apart_even_with_half_close() {
        let finish = Incident::PeerFinished { truncated: true };
        let (_, life) = life(true, &[finish, Incident::Flushed]);
        assert_eq!(life.closed(), Some(CloseReason::Truncated));
    }

    #[test]
    fn half_close_keeps_sending_until_closed() {
        let close = Incident::Close(CloseReason::Local);
        let (actions, after) = life(true, &[FINISHED]);
        assert_eq!(actions, [Action::StopReading]);
        assert!(after.sends() && !after.receives());
        let (actions, after) = life(true, &[FINISHED, close, Incident::Flushed]);
        assert_eq!(
            actions,
            [Action::StopReading, Action::Flush, Action::Finish]
        );
        assert_eq!(after.closed(), Some(CloseReason::Local));
    }

    #[test]
    fn drain_timeout_resets_and_says_so() {
        for incidents in [&[][..], &[Incident::Flushed][..]] {
            let mut life = Lifecycle::new(false);
            life.handle(Incident::Close(CloseReason::Local));
            incidents.iter().for_each(|i| _ = life.handle(*i));
            assert_eq!(life.handle(Incident::DrainExpired), Action::Reset);
            assert_eq!(life.closed(), Some(CloseReason::DrainTimeout));
        }
        let (_, life) = life(
            false,
            &[Incident::Close(CloseReason::Idle), Incident::DrainExpired],
        );
        assert_eq!(
            life.closed(),
            Some(CloseReason::Idle),
            "a reason that is a failure stays"
        );
    }

    #[test]
    fn a_break_while_discarding_is_no_failure_but_while_flushing_it_is() {
        let broken = Incident::Failed(CloseReason::Io(ErrorKind::ConnectionReset));
        let close = Incident::Close(CloseReason::Local);
        let (_, after) = life(false, &[close, Incident::Flushed, broken]);
        assert_eq!(after.closed(), Some(CloseReason::Local));
        let (_, after) = life(false, &[close, broken]);
        assert_eq!(
            after.closed(),
            Some(CloseReason::Io(ErrorKind::ConnectionReset))
        );
    }

    #[test]
    fn every_sequence_ends_once_and_stays_ended() {
        let all = [
            FINISHED,
            Incident::PeerFinished { truncated: true },
            Incident::Close(CloseReason::Local),
            Incident::Abort(CloseReason::Aborted),
            Incident::Failed(CloseReason::Io(ErrorKind::BrokenPipe)),
            Incident::Flushed,
            Incident::DrainExpired,
        ];
        for half_close in [false, true] {
            for code in 0..all.len().pow(5) {
                let mut life = Lifecycle::new(half_close);
                let mut ends = 0;
                let mut rest = code;
                for _ in 0..5 {
                    let before = life.closed();
                    let action = life.handle(all[rest % all.len()]);
                    rest /= all.len();
                    let ended = matches!(action, Action::Finish | Action::Reset);
                    ends += usize::from(ended);
                    assert_eq!(ended, before.is_none() && life.closed().is_some());
                    if let Some(reason) = before {
                        assert_eq!((life.closed(), action), (Some(reason), Action::Nothing));
                    }
                }
                assert!(ends <= 1);
                life.handle(Incident::Abort(CloseReason::Aborted));
                assert!(life.closed().is_some(), "an abort ends every phase");
            }
        }
    }
}
