//! Limits at the door: when a registration or a begin is refused, and how often a peer can make the coordinator write a log line.
//!
//! Only beginning is ever refused for load, so that what was begun can always be finished.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::coordinator::{ChannelId, Coordinator};

impl Coordinator {
    /// Why a begin on this connection is refused now, if it is. The text names the limit.
    pub(super) fn begin_refusal(&mut self, channel: ChannelId) -> Option<String> {
        let config = &self.config;
        let own = self.roster.held(channel).map_or(0, |held| *held);
        let limit = |name: &str, max: usize| Some(format!("limit {name}={max} is met"));
        if self.draining {
            Some("the coordinator is shutting down, begin at another one".to_owned())
        } else if let Some(reason) = self.share.barred() {
            Some(reason.to_owned())
        } else if self.stats.live + self.beginning >= config.globals_max {
            limit("globals_max", config.globals_max)
        } else if self.held > config.held_max {
            limit("held_max", config.held_max)
        } else if own > config.held_per_channel_max {
            limit("held_per_channel_max", config.held_per_channel_max)
        } else {
            None
        }
    }
}

impl Coordinator {
    /// Why a registration is refused, if it is. The text names the limit. What the connection serves already counts once.
    pub(super) fn registration_fault<'a>(
        &self,
        channel: ChannelId,
        application_id: &str,
        group: &str,
        resource_ids: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let config = &self.config;
        let limit = |name: &str, max: usize| Some(format!("limit {name}={max} is met"));
        if application_id.len().max(group.len()) > config.identity_bytes_max {
            return limit("identity_bytes_max", config.identity_bytes_max);
        }
        let (served, mut bytes) = self.roster.served(channel);
        let mut fresh = BTreeSet::new();
        for id in resource_ids {
            if id.len() > config.resource_id_bytes_max {
                return limit("resource_id_bytes_max", config.resource_id_bytes_max);
            }
            if self.roster.serves(channel, id) || !fresh.insert(id) {
                continue;
            }
            bytes += id.len();
            if served + fresh.len() > config.resources_per_channel_max {
                return limit(
                    "resources_per_channel_max",
                    config.resources_per_channel_max,
                );
            }
            if bytes > config.resource_bytes_per_channel_max {
                return limit(
                    "resource_bytes_per_channel_max",
                    config.resource_bytes_per_channel_max,
                );
            }
        }
        None
    }
}

/// What a peer can make the coordinator log, each kind with a rate of its own: a flood of one hides no other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Topic {
    Closing,
    BeginRefused,
    RegistrationRefused,
    Conflict,
    ReportIgnored,
    AnswerUnexpected,
    RetryLater,
    BranchFailed,
    TimedOut,
    StoreFailed,
    Undecidable,
    Overtaken,
}

/// A [`LogGate`] for each topic.
#[derive(Debug)]
pub(super) struct LogGates([LogGate; TOPICS]);

impl LogGates {
    pub(super) fn new(now: Instant) -> Self {
        Self(std::array::from_fn(|_| LogGate::new(now)))
    }

    /// Whether a line may be written, and how many of its topic were not since the last one.
    pub(super) fn admit(&mut self, topic: Topic, now: Instant) -> Option<u64> {
        self.0[topic as usize].admit(now)
    }
}

/// Lets a few log lines through each second.
#[derive(Debug)]
pub(super) struct LogGate {
    since: Instant,
    admitted: u32,
    skipped: u64,
}

impl LogGate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            admitted: 0,
            skipped: 0,
        }
    }

    /// Whether a line may be written, and how many were not since the last one.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.admitted = 0;
        }
        if self.admitted >= LINES_PER_SECOND {
            self.skipped += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

/// Text of a client in a log line: escaped, so that it cannot fake lines, and cut.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN_CHARACTERS_MAX) {
            write!(f, "{}", character.escape_debug())?;
        }
        match characters.next() {
            Some(_) => f.write_str("…"),
            None => Ok(()),
        }
    }
}

const LINES_PER_SECOND: u32 = 10;
const TOPICS: usize = Topic::Overtaken as usize + 1;
const SHOWN_CHARACTERS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn lines_beyond_the_rate_are_counted_not_written() {
        let start = Instant::now();
        let mut gate = LogGate::new(start);
        let through = (0..100).filter(|_| gate.admit(start).is_some()).count();
        assert_eq!(through, LINES_PER_SECOND as usize);
        assert_eq!(gate.admit(start + Duration::from_secs(1)), Some(90));
        assert_eq!(gate.admit(start + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn client_text_cannot_start_a_line_of_its_own() {
        assert_eq!(Shown("a\nb\u{1b}[0m").to_string(), "a\\nb\\u{1b}[0m");
        let long = "x".repeat(1000);
        assert_eq!(
            Shown(&long).to_string().chars().count(),
            SHOWN_CHARACTERS_MAX + 1
        );
    }
}
