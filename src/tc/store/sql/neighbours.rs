//! Coordinators on the same tables that are none of ours, and whether one of them is unsafe to work beside: a value
//! without I/O (coordinator.md 4.8, 10.1 A1).
//!
//! A Java coordinator before 2.0 writes its decisions without comparing the status, so it may commit what another one
//! rolls back. Which version it is the tables do not say, but it does itself: the answer to a registration carries it.
//! What is seen of an address in the tables decides when it is asked.
//!
//! | its last answer | it is asked again |
//! |---|---|
//! | none yet | at once |
//! | 2.0 or later | some seconds later, when there is more of it in the tables: another version may have been started |
//! | before 2.0, or of no version | every two seconds, until it is silent twice |
//! | silence | when there is more of it in the tables; or, while anything of it is there, every ten seconds |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::proto::version::PeerVersion;

/// What an address said to the question which version is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// This text, which may be empty.
    Version(String),
    /// Nothing, or nothing that a coordinator says.
    Silence,
}

/// What an answer changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A coordinator that is too old is there.
    Came(TooOld),
    /// The one that was too old is there no more.
    Went(String),
}

/// A coordinator that may not run beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooOld {
    pub(super) address: String,
    /// As it told it.
    pub(super) version: String,
}

/// What is known of the others, by their addresses.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: BTreeMap<String, Neighbour>,
    /// Of coordinators of our kind that are alive.
    siblings: BTreeSet<String>,
}

#[derive(Debug)]
struct Neighbour {
    standing: Standing,
    /// A question is under way.
    asking: bool,
    asked: Option<Instant>,
    /// The newest time that stands beside its address in the tables, in ms since 1970 by its own clock.
    sign_ms: i64,
    /// The same when it was asked last.
    sign_when_asked_ms: i64,
    /// When anything of it was in the tables last.
    seen: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Unasked,
    Safe,
    TooOld { version: String, silences: u32 },
    Silent,
}

impl Neighbours {
    /// Who is of our kind and alive: they are asked nothing.
    pub(super) fn know_siblings(&mut self, addresses: impl Iterator<Item = String>) {
        self.siblings = addresses.collect();
    }

    /// Something of an address is in the tables; `sign_ms` is the newest time that stands beside it.
    pub(super) fn saw(&mut self, now: Instant, address: &str, sign_ms: i64) {
        if let Some(neighbour) = self.known.get_mut(address) {
            neighbour.sign_ms = neighbour.sign_ms.max(sign_ms);
            neighbour.seen = now;
            return;
        }
        let known = self.siblings.contains(address) || place_of(address).is_none();
        if known || self.known.len() >= KNOWN_MAX {
            return;
        }
        let neighbour = Neighbour {
            standing: Standing::Unasked,
            asking: false,
            asked: None,
            sign_ms,
            sign_when_asked_ms: i64::MIN,
            seen: now,
        };
        self.known.insert(address.to_owned(), neighbour);
    }

    /// At most so many addresses that are to be asked now; each is under way until [`Neighbours::answered`].
    pub(super) fn due(&mut self, now: Instant, room: usize) -> Vec<String> {
        let siblings = &self.siblings;
        self.known.retain(|address, neighbour| {
            let stays = now.saturating_duration_since(neighbour.seen) < FORGOTTEN_AFTER
                && !siblings.contains(address);
            stays || neighbour.asking || neighbour.is_too_old()
        });
        let mut due: Vec<(&String, &mut Neighbour)> = self
            .known
            .iter_mut()
            .filter(|(_, neighbour)| neighbour.is_due(now))
            .collect();
        // Those that are too old keep transactions from beginning; of the others whoever waited longest.
        due.sort_by_key(|(_, neighbour)| (!neighbour.is_too_old(), neighbour.asked));
        due.truncate(room);
        due.into_iter()
            .map(|(address, neighbour)| {
                neighbour.asking = true;
                neighbour.asked = Some(now);
                neighbour.sign_when_asked_ms = neighbour.sign_ms;
                address.clone()
            })
            .collect()
    }

    /// What an address said.
    pub(super) fn answered(&mut self, now: Instant, address: &str, reply: Reply) -> Option<Change> {
        let neighbour = self.known.get_mut(address)?;
        neighbour.asking = false;
        neighbour.asked = Some(now);
        let before = neighbour.standing.clone();
        neighbour.standing = match (reply, &before) {
            (Reply::Version(version), _) if PeerVersion::parse(&version).at_least(2, 0) => {
                Standing::Safe
            }
            (Reply::Version(version), _) => Standing::TooOld {
                version,
                silences: 0,
            },
            // It may be busy, and is not gone for one answer that did not come.
            (Reply::Silence, Standing::TooOld { version, silences })
                if silences + 1 < SILENCES_MEAN_GONE =>
            {
                Standing::TooOld {
                    version: version.clone(),
                    silences: silences + 1,
                }
            }
            (Reply::Silence, _) => Standing::Silent,
        };
        match (&before, &neighbour.standing) {
            (Standing::TooOld { .. }, Standing::TooOld { .. }) => None,
            (_, Standing::TooOld { version, .. }) => Some(Change::Came(TooOld {
                address: address.to_owned(),
                version: version.clone(),
            })),
            (Standing::TooOld { .. }, _) => Some(Change::Went(address.to_owned())),
            _ => None,
        }
    }

    /// One that is too old.
    pub(super) fn too_old(&self) -> Option<TooOld> {
        self.known
            .iter()
            .find_map(|(address, neighbour)| match &neighbour.standing {
                Standing::TooOld { version, .. } => Some(TooOld {
                    address: address.clone(),
                    version: version.clone(),
                }),
                _ => None,
            })
    }

    /// Whether the coordinator at this address may be too old: it is, or has not been asked yet.
    pub(super) fn may_be_too_old(&self, address: &str) -> bool {
        let neighbour = self.known.get(address);
        neighbour.is_some_and(|n| n.is_too_old() || n.standing == Standing::Unasked)
    }

    /// Whether nobody has to be asked for the first time.
    pub(super) fn are_known(&self) -> bool {
        let unasked = |neighbour: &Neighbour| neighbour.standing == Standing::Unasked;
        !self.known.values().any(unasked)
    }
}

impl Neighbour {
    fn is_too_old(&self) -> bool {
        matches!(self.standing, Standing::TooOld { .. })
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some(asked) = self.asked else {
            return !self.asking;
        };
        let rested = |pause: Duration| now.saturating_duration_since(asked) >= pause;
        let moved = self.sign_ms > self.sign_when_asked_ms;
        let there = self.seen > asked;
        !self.asking
            && match self.standing {
                Standing::Unasked => true,
                Standing::TooOld { .. } => rested(TOO_OLD_AGAIN),
                Standing::Safe => moved && rested(SAFE_AGAIN),
                Standing::Silent => {
                    (moved && rested(TOO_OLD_AGAIN)) || (there && rested(SILENT_AGAIN))
                }
            }
    }
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, version } = self;
        let version: String = version.escape_debug().take(VERSION_SHOWN_MAX).collect();
        match version.is_empty() {
            false => write!(
                f,
                "a Java coordinator of version {version} works at {address}"
            )?,
            true => write!(f, "a coordinator of no known version works at {address}")?,
        }
        f.write_str(
            " on the same tables; those before 2.0 do not compare the status they change, and may commit what another \
             one rolls back",
        )
    }
}

/// Host and port of an address, when it can be one that somebody listens at.
pub(super) fn place_of(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    let fits = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.chars().all(known);
    fits.then_some((host, port))
}

/// Between two questions to one that is too old.
const TOO_OLD_AGAIN: Duration = Duration::from_secs(2);
/// Between two questions to one that was safe.
const SAFE_AGAIN: Duration = Duration::from_secs(15);
/// Between two questions to one that was silent and has done nothing new since.
const SILENT_AGAIN: Duration = Duration::from_secs(10);
/// So many times in a row, and a coordinator that answered before is gone.
const SILENCES_MEAN_GONE: u32 = 2;
/// An address of which nothing was in the tables for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// More addresses than any installation has.
const KNOWN_MAX: usize = 1000;
const HOST_BYTES_MAX: usize = 253;
const VERSION_SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const JAVA: &str = "10.0.0.9:8091";

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn version(text: &str) -> Reply {
        Reply::Version(text.to_owned())
    }

    /// Neighbours that have seen one address, and asked it.
    fn asked(now: Instant) -> Neighbours {
        let mut all = Neighbours::default();
        all.saw(now, JAVA, 1);
        assert!(!all.are_known());
        assert_eq!(all.due(now, 4), [JAVA]);
        all
    }

    #[test]
    fn versions_before_2_are_too_old_and_so_is_none() {
        let now = start();
        for (text, too_old) in [
            ("1.4.2", true),
            ("1.8.0", true),
            ("1.5.0-SNAPSHOT", true),
            ("", true),
            ("seata", true),
            ("2.0.0", false),
            ("2.0.0-SNAPSHOT", false),
            ("2.6.0.1", false),
            ("10.0", false),
        ] {
            let mut all = asked(now);
            let change = all.answered(now, JAVA, version(text));
            assert_eq!(change.is_some(), too_old, "{text}");
            assert_eq!(all.too_old().is_some(), too_old, "{text}");
            assert!(all.are_known());
        }
        let mut all = asked(now);
        assert_eq!(all.answered(now, JAVA, Reply::Silence), None);
        assert_eq!(all.too_old(), None);
        assert!(!all.may_be_too_old(JAVA));
    }

    #[test]
    fn each_address_is_asked_once_at_a_time() {
        let now = start();
        let mut all = asked(now);
        assert!(all.may_be_too_old(JAVA));
        all.saw(now + secs(60), JAVA, 2);
        assert_eq!(all.due(now + secs(60), 4), [""; 0]);
        for number in 1..=9 {
            all.saw(now, &format!("10.0.0.{number}:8091"), 1);
        }
        assert_eq!(all.due(now, 3).len(), 3);
        assert_eq!(all.due(now, 30).len(), 5);
        assert_eq!(all.due(now, 30), [""; 0]);
    }

    #[test]
    fn one_that_is_too_old_is_gone_when_it_was_silent_twice() {
        let mut now = start();
        let mut all = asked(now);
        let came = all.answered(now, JAVA, version("1.4.2"));
        let expected = TooOld {
            address: JAVA.to_owned(),
            version: "1.4.2".to_owned(),
        };
        assert_eq!(came, Some(Change::Came(expected.clone())));
        for (reply, left) in [
            (Reply::Silence, true),
            (version("1.4.2"), true),
            (Reply::Silence, true),
            (Reply::Silence, false),
        ] {
            assert_eq!(all.due(now, 4), [""; 0], "not yet");
            now += TOO_OLD_AGAIN;
            assert_eq!(all.due(now, 4), [JAVA]);
            let change = all.answered(now, JAVA, reply);
            let went = (!left).then(|| Change::Went(JAVA.to_owned()));
            assert_eq!(change, went);
            assert_eq!(all.too_old(), left.then(|| expected.clone()));
        }
    }

    #[test]
    fn one_that_was_silent_is_asked_again_when_there_is_more_of_it() {
        let now = start();
        let mut all = asked(now);
        all.answered(now, JAVA, Reply::Silence);
        // What it left stays in the tables.
        let at = |n| now + secs(n);
        all.saw(at(1), JAVA, 1);
        assert_eq!(all.due(at(3), 4), [""; 0]);
        all.saw(at(4), JAVA, 2);
        assert_eq!(all.due(at(4), 4), [JAVA], "it has begun something");
        all.answered(at(4), JAVA, Reply::Silence);
        all.saw(at(13), JAVA, 2);
        assert_eq!(all.due(at(13), 4), [""; 0]);
        assert_eq!(
            all.due(at(14), 4),
            [JAVA],
            "it may have been started and be idle"
        );
        all.answered(at(14), JAVA, Reply::Silence);
        assert_eq!(all.due(at(100), 4), [""; 0], "nothing of it is left");
    }

    #[test]
    fn one_that_is_safe_is_asked_again_while_it_works() {
        let now = start();
        let mut all = asked(now);
        all.answered(now, JAVA, version("2.0.0"));
        all.saw(now + secs(5), JAVA, 2);
        assert_eq!(all.due(now + secs(5), 4), [""; 0]);
        assert_eq!(all.due(now + SAFE_AGAIN, 4), [JAVA]);
        let change = all.answered(now + SAFE_AGAIN, JAVA, version("1.8.0"));
        assert!(matches!(change, Some(Change::Came(_))), "{change:?}");
        let later = now + SAFE_AGAIN + TOO_OLD_AGAIN;
        assert_eq!(all.due(later, 4), [JAVA]);
        let change = all.answered(later, JAVA, version("2.0.0"));
        assert_eq!(change, Some(Change::Went(JAVA.to_owned())));
        all.saw(later + secs(99), JAVA, 2);
        assert_eq!(all.due(later + secs(99), 4), [""; 0], "it has done nothing");
    }

    #[test]
    fn ours_and_what_is_no_place_are_not_asked() {
        let now = start();
        let mut all = Neighbours::default();
        all.know_siblings([JAVA.to_owned()].into_iter());
        all.saw(now, JAVA, 1);
        for no_place in [
            "",
            " ",
            "10.0.0.1",
            "10.0.0.1:0",
            ":8091",
            "h:99999",
            "a b:1",
        ] {
            all.saw(now, no_place, 1);
            assert!(!all.may_be_too_old(no_place));
        }
        assert!(all.are_known());
        assert_eq!(all.due(now, 4), [""; 0]);
        // A sibling that has died may have been replaced.
        all.know_siblings(std::iter::empty());
        all.saw(now, JAVA, 1);
        assert_eq!(all.due(now, 4), [JAVA]);
        all.answered(now, JAVA, Reply::Silence);
        all.know_siblings([JAVA.to_owned()].into_iter());
        all.saw(now + secs(60), JAVA, 2);
        assert_eq!(all.due(now + secs(60), 4), [""; 0]);
    }

    #[test]
    fn addresses_are_forgotten_and_their_number_is_limited() {
        let now = start();
        let mut all = Neighbours::default();
        for number in 0..2 * KNOWN_MAX {
            all.saw(now, &format!("10.0.0.1:{}", number + 1), 1);
        }
        assert_eq!(all.known.len(), KNOWN_MAX);
        assert_eq!(all.due(now + FORGOTTEN_AFTER, usize::MAX), [""; 0]);
        assert_eq!(all.known.len(), 0);
    }

    #[test]
    fn hosts_may_have_names_and_colons() {
        assert_eq!(place_of("10.0.0.1:8091"), Some(("10.0.0.1", 8091)));
        assert_eq!(place_of("tc-0.seata_x:1"), Some(("tc-0.seata_x", 1)));
        assert_eq!(place_of("[::1]:8091"), Some(("::1", 8091)));
        assert_eq!(place_of("fe80::1%eth0:8091"), Some(("fe80::1%eth0", 8091)));
        assert_eq!(place_of("10.0.0.1:0 of process 7"), None);
    }

    #[test]
    fn a_refusal_names_address_and_version_in_one_line() {
        let one = |version: &str| TooOld {
            address: JAVA.to_owned(),
            version: version.to_owned(),
        };
        let text = one("1.4.2").to_string();
        assert!(text.starts_with("a Java coordinator of version 1.4.2 works at 10.0.0.9:8091 "));
        assert!(!one("1.4\n2").to_string().contains('\n'));
        assert!(one("").to_string().contains("no known version"));
    }
}
