//! The coordinator as one of several over one store (coordinator.md 4.8).
//!
//! Requests are served for every xid, whoever began it: the store decides them one after the other. Phase two has one
//! driver at a time: the coordinator that decided, until the store says that it is another one.
//!
//! - Branches are called only while the store's lease lasts. What is due without it rests until the lease is told again.
//! - A transaction whose driver is gone is adopted and driven on from what the store has.
//! - A drive that needs a resource whose RMs are all connected elsewhere is offered, and adopted by whoever has one. Its
//!   requester has been answered by then. The same goes for an XA branch whose client was never connected here: another
//!   one of its application is called only when nobody had the client itself for the time of a takeover.
//! - A coordinator that was taken for dead forgets everything it drove.
//! - While the store says that somebody who breaks its rules is at work on it, no transaction begins; those that have
//!   begun go on.
//!
//! What is remembered here of a transaction may be outdated at any time; no operation of the store relies on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::coordinator::{Coordinator, Now};
use super::global::Work;
use super::recovery::Resume;
use super::store::{Global, Outcome, Seq, StoreEvent};
use super::timers::Timer;
use crate::proto::Text;
use crate::proto::status::GlobalStatus;
use crate::xid::{IdGenerator, Xid};

/// What a coordinator knows of its place among others.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Until when nobody else drives what is driven here.
    lease: Option<Instant>,
    /// Drives that wait for the lease.
    resting: BTreeSet<Xid>,
    /// A timer for `resting` is set.
    waking: bool,
    /// Transactions on offer that are not taken on as soon as an RM is here.
    offers: BTreeMap<Xid, Offer>,
    /// Why no transaction may begin.
    barred: Option<String>,
}

/// A transaction on offer.
#[derive(Debug)]
struct Offer {
    /// When this coordinator first heard of it.
    since: Instant,
    /// When the store told of it last.
    told: Instant,
    /// It is not taken on before, unless an RM joins.
    not_before: Instant,
    /// [`Roster::joins`](super::roster::Roster::joins) when it was offered here.
    joins: u64,
    /// From then on it is taken on whoever is connected, since its retries may have gone on for too long.
    gives_up_at: Option<Instant>,
}

/// Why a transaction is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is on offer, and the store tells so again.
    Offered,
    /// It is this coordinator's already, as far as it knows.
    Own,
}

impl Share {
    /// Whether branches may be called now.
    pub(super) fn may_drive(&self, now: Now) -> bool {
        self.lease.is_some_and(|until| now.instant < until)
    }

    /// Why no transaction may begin on this store now, if that is so.
    pub(super) fn barred(&self) -> Option<&str> {
        self.barred.as_deref()
    }

    /// A drive waits for the lease.
    pub(super) fn rest(&mut self, xid: &Xid) {
        if !self.resting.contains(xid) {
            self.resting.insert(xid.clone());
        }
    }

    /// When a transaction on offer was first heard of.
    pub(super) fn offered_since(&self, xid: &Xid) -> Option<Instant> {
        self.offers.get(xid).map(|offer| offer.since)
    }

    /// How many offers are remembered.
    #[cfg(test)]
    pub(super) fn offers(&self) -> usize {
        self.offers.len()
    }

    /// Whether a drive waits for the lease.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn rests(&self, xid: &Xid) -> bool {
        self.resting.contains(xid)
    }
}

impl Coordinator {
    /// The store told what happened beside the operations. Completions it gave before have to be handled before.
    pub fn handle_store_event(&mut self, now: Now, event: StoreEvent) {
        debug_assert!(self.config.shared, "{event:?}, and nobody else is there");
        let now = self.dated(now);
        match event {
            StoreEvent::Leased(until) => self.leased(now, until),
            StoreEvent::Adopted(global) => self.adopted(now, &global),
            StoreEvent::Offered { xid, resource_id } => self.offered(now, &xid, &resource_id),
            StoreEvent::Replaced { node, not_below } => self.replaced(now, node, not_below),
            StoreEvent::Barred(reason) => self.share.barred = reason,
        }
    }

    fn leased(&mut self, now: Now, until: Instant) {
        self.share.lease = Some(until);
        if self.share.may_drive(now) && !self.share.resting.is_empty() && !self.share.waking {
            self.share.waking = true;
            self.timers.insert(now.instant, Timer::Leased);
        }
    }

    /// Lets some of those go on that waited for the lease. True when there are more, for another time.
    pub(super) fn go_on(&mut self, now: Now) -> bool {
        self.share.waking = false;
        for _ in 0..RESUMED_AT_ONCE {
            if !self.share.may_drive(now) {
                return false;
            }
            let Some(xid) = self.share.resting.pop_first() else {
                return false;
            };
            self.run(now, &xid);
        }
        self.share.waking = !self.share.resting.is_empty();
        if self.share.waking {
            self.timers.insert(now.instant, Timer::Leased);
        }
        self.share.waking
    }

    /// The one that had a transaction is gone, and the store gave it to this coordinator.
    fn adopted(&mut self, now: Now, global: &Global) {
        let xid = &global.xid;
        match self.globals.get(xid) {
            Some(entry) if entry.drive.is_some() => {}
            // A request may be deciding it right now, or have found it decided.
            Some(entry) if entry.busy && global.status != GlobalStatus::Begin => {
                self.adopt(now, xid, Claim::Own);
            }
            Some(entry) if entry.status.is_some_and(|s| s != GlobalStatus::Begin) => {}
            Some(entry) if entry.deadline.is_some() && global.status == GlobalStatus::Begin => {}
            _ => self.take_on(now, global, Resume::AtOnce),
        }
    }

    /// A transaction is on offer.
    fn offered(&mut self, now: Now, xid: &Xid, resource_id: &Text) {
        let known = self.globals.get(xid);
        let driven = known.is_some_and(|entry| entry.drive.is_some() || entry.adopting);
        let may = !driven && !self.draining && self.share.may_drive(now);
        if may && self.suits(now, xid, resource_id) {
            self.adopt(now, xid, Claim::Offered);
        }
    }

    /// Whether a transaction on offer can be driven on here.
    fn suits(&mut self, now: Now, xid: &Xid, resource_id: &Text) -> bool {
        let joined = self.roster.joined(resource_id);
        if let Some(offer) = self.share.offers.get_mut(xid) {
            offer.told = now.instant;
            if offer.gives_up_at.is_some_and(|at| at <= now.instant) {
                return true;
            }
            return joined.is_some_and(|at| at > offer.joins || offer.not_before <= now.instant);
        }
        let limits = [
            self.config.commit_retry_timeout,
            self.config.rollback_retry_timeout,
        ];
        if let (None, Some(limit)) = (joined, limits.into_iter().flatten().max()) {
            let offer = Offer {
                since: now.instant,
                told: now.instant,
                not_before: now.instant,
                joins: self.roster.joins(),
                gives_up_at: now.instant.checked_add(limit),
            };
            self.share.offers.insert(xid.clone(), offer);
        }
        joined.is_some()
    }

    /// Asks the store for a decided transaction, in turn.
    pub(super) fn adopt(&mut self, now: Now, xid: &Xid, claim: Claim) {
        let known = self.globals.get(xid);
        let asked = known.is_some_and(|e| e.adopting && claim == Claim::Offered);
        if asked || known.is_some_and(|entry| entry.drive.is_some()) {
            return;
        }
        self.enqueue(now, xid, Work::Adopt(claim));
        if let Some(entry) = self.globals.get_mut(xid) {
            entry.adopting = true;
        }
    }

    /// The store was asked for a transaction.
    pub(super) fn conclude_adopt(&mut self, now: Now, xid: &Xid, claim: Claim, outcome: Outcome) {
        let Some(entry) = self.globals.get_mut(xid) else {
            return;
        };
        entry.adopting = false;
        if entry.drive.is_some() {
            return;
        }
        match outcome {
            Outcome::Decided(global) => {
                self.take_on(now, &global, Resume::AtOnce);
                self.share.offers.remove(xid);
            }
            // Nobody tells of it again.
            Outcome::Failed(_) if claim == Claim::Own => {
                let at = now.instant + self.config.retry_pause_max;
                self.timers.insert(at, Timer::Adopt(xid.clone()));
            }
            _ => {}
        }
    }

    /// Offers a drive that can do nothing here for want of an RM. False when there is no reason to.
    pub(super) fn offer(&mut self, now: Now, xid: &Xid) -> bool {
        let joins = self.roster.joins();
        let Some(drive) = self.drive(xid) else {
            return false;
        };
        let Some(step) = drive.stranded() else {
            return false;
        };
        drive.offering = Some(joins);
        let resource_id = drive.steps[step].resource_id.clone();
        let timer = drive.timer.take();
        self.timers.cancel(timer.map(|(_, timer)| timer));
        self.enqueue(now, xid, Work::Offer(resource_id));
        true
    }

    /// The store was asked to let a sibling have a transaction.
    pub(super) fn conclude_offer(
        &mut self,
        now: Now,
        xid: &Xid,
        resource_id: &Text,
        outcome: Outcome,
        after: Seq,
    ) {
        let pause = self.config.retry_pause_max;
        let served = self.roster.joined(resource_id).is_some();
        let Some(drive) = self.drive(xid) else {
            return;
        };
        let Some(joins) = drive.offering.take() else {
            return;
        };
        if let Outcome::Failed(_) = outcome {
            // Its next try offers it again.
            drive.steps.iter_mut().for_each(|s| s.unrouted = false);
            return self.run(now, xid);
        }
        let offer = Offer {
            since: drive.since,
            told: now.instant,
            // Rules, not the want of an RM, may be what stood in the way.
            not_before: match served {
                true => now.instant + pause,
                false => drive.retries_at().unwrap_or(now.instant),
            },
            joins,
            gives_up_at: drive.give_up_at,
        };
        if outcome == Outcome::Done {
            log::debug!(
                "xid={xid} event=offered resource={}",
                resource_id.escape_debug()
            );
            self.share.offers.insert(xid.clone(), offer);
        }
        let Some(drive) = self.drop_drive(now, xid) else {
            return;
        };
        if let Some(requester) = drive.requester {
            match outcome {
                Outcome::Ended(tombstone) => {
                    self.answer_ended(requester.reply, requester.asked, Some(tombstone), after);
                }
                _ => {
                    let status = drive.global.status;
                    self.answer_live(requester.reply, requester.asked, status, after);
                }
            }
        }
        self.pass_on(xid);
    }

    /// An outcome tells that a transaction which rests here went on elsewhere.
    pub(super) fn learn(&mut self, now: Now, xid: &Xid, outcome: &Outcome) {
        let Some(entry) = self.globals.get(xid) else {
            return;
        };
        let (Some(known), None) = (entry.status, &entry.drive) else {
            return;
        };
        let status = match outcome {
            Outcome::Status(status) => Some(*status),
            Outcome::Found(global) => Some(global.status),
            Outcome::Ended(_) | Outcome::Unknown => None,
            _ => return,
        };
        if status == Some(known) {
            return;
        }
        self.pass_on(xid);
        if status.is_some() && known != GlobalStatus::Begin {
            // Whoever moved it need not be the one that is to drive it.
            self.adopt(now, xid, Claim::Own);
        }
    }

    /// A transaction is no longer this coordinator's to remember.
    pub(super) fn pass_on(&mut self, xid: &Xid) {
        self.disarm_deadline(xid);
        if self.globals.get(xid).is_some_and(|e| e.status.is_some()) {
            self.stats.passed_on += 1;
            self.note_status(xid, None);
        }
    }

    /// A drive met a status that somebody else has set: it goes on from there, unless a sibling does.
    pub(super) fn drive_anew(&mut self, now: Now, xid: &Xid) {
        self.pass_on(xid);
        self.adopt(now, xid, Claim::Own);
    }

    /// Siblings took this coordinator for dead: what it drove is theirs.
    fn replaced(&mut self, now: Now, node: u16, not_below: i64) {
        log::warn!("event=replaced node={node}: siblings drive what was driven here");
        self.share.lease = None;
        // The node may be the same, and the clock behind the ids that were given out with it.
        let given = self.ids.next_id();
        self.ids = IdGenerator::new(node, now.wall_ms);
        self.ids.not_below(not_below);
        self.ids.not_below(given);
        // In an order that is the same in every run.
        let known: BTreeSet<Xid> = self.globals.keys().cloned().collect();
        for xid in known {
            if let Some(drive) = self.drop_drive(now, &xid)
                && let Some(requester) = drive.requester
            {
                let status = drive.global.status;
                self.answer_live(requester.reply, requester.asked, status, drive.after);
            }
            self.pass_on(&xid);
            let Some(entry) = self.globals.get_mut(&xid) else {
                continue;
            };
            entry
                .waiting
                .retain(|work| !matches!(work, Work::Timeout | Work::Adopt(_)));
            entry.adopting = false;
            if !entry.busy {
                self.globals.remove(&xid);
            }
        }
        self.share.resting.clear();
        self.share.offers.clear();
    }

    /// Offers that somebody has taken are forgotten.
    pub(super) fn forget_offers(&mut self, now: Now) {
        let kept = |offer: &Offer| offer.told + OFFER_TOLD_WITHIN > now.instant;
        self.share.offers.retain(|_, offer| kept(offer));
    }
}

/// How many drives go on at once when the lease is told again.
const RESUMED_AT_ONCE: usize = 256;
/// An offer that was not told for so long is one no more.
const OFFER_TOLD_WITHIN: Duration = Duration::from_secs(60);
