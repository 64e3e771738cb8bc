//! A hierarchical timing wheel: a million timers, each inserted, cancelled or re-armed in constant time.
//!
//! [`Wheel`] is a plain value. It holds no clock and starts no thread: the owner says what time it is when it
//! asks what has expired. One tick is one millisecond. Six levels of 64 slots span 2^36 ticks, a little more
//! than two years; a deadline beyond that is parked and placed when its two years begin.
//!
//! # Guarantees
//!
//! - **Never early.** A timer is handed out only when `now` has reached its deadline.
//! - **Ordered.** Timers come out by deadline, and those of one deadline in the order they were inserted or last
//!   re-armed, over any jump of time. A deadline that had already passed when it was inserted counts as due at
//!   the tick the wheel had reached by then, so it fires at once, behind what was waiting for that very tick.
//! - **Detached.** What [`Wheel::pop_expired`] returns is no longer in the wheel: its owner may insert, cancel and
//!   re-arm before it asks for the next one. A timer inserted meanwhile that is due as well comes out in its turn,
//!   so a caller that re-arms with no delay has to bound its own loop.
//! - **Stale ids are harmless.** A [`TimerId`] carries a generation: once its timer fired or was cancelled the id
//!   names nothing, for ever.
//!
//! # Cost
//!
//! Lists are doubly linked through a slab, so `insert`, `cancel` and `reset` touch one entry and its neighbours.
//! Each timer moves down at most five levels in its life, whatever the jumps. A bitmap per level finds the next
//! occupied slot with a few bit scans; nothing is walked while nothing expires, and empty time costs nothing.
//!
//! # Left out
//!
//! Callbacks, repetition and limits belong to the owner ([`Wheel::len`] is there to be limited). Memory grows to
//! the largest number of timers ever live at once and stays. Follows network.md B-21 and C.1.

use std::time::Duration;

/// A point in time: milliseconds since a start that the owner of the wheel chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The first tick at or after `elapsed`: the right rounding for a deadline, which may be late but not early.
    pub fn ceil(elapsed: Duration) -> Tick {
        Tick(u64::try_from(elapsed.as_nanos().div_ceil(NANOS_PER_TICK)).unwrap_or(u64::MAX))
    }

    /// The last tick at or before `elapsed`: the right rounding for the present time.
    pub fn floor(elapsed: Duration) -> Tick {
        Tick(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// This tick moved by `delay`, rounded up to whole milliseconds, stopping at the end of time.
    pub fn after(self, delay: Duration) -> Tick {
        Tick(self.0.saturating_add(Tick::ceil(delay).0))
    }

    /// How long from `earlier` to this tick; zero when it is not later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Names one timer of one [`Wheel`] until it fires or is cancelled. Afterwards it names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// The timing wheel. See the [module](self) for what it promises.
///
/// ```
/// use seamio::net::wheel::{Tick, Wheel};
///
/// let mut wheel = Wheel::new();
/// let tea = wheel.insert(Tick(180_000), "tea");
/// let egg = wheel.insert(Tick(300_000), "egg");
/// wheel.reset(tea, Tick(240_000));
/// assert_eq!(wheel.next_deadline(), Some(Tick(240_000)));
/// assert_eq!(wheel.pop_expired(Tick(239_999)), None);
/// assert_eq!(wheel.pop_expired(Tick(1_000_000)), Some((tea, "tea")));
/// assert_eq!(wheel.pop_expired(Tick(1_000_000)), Some((egg, "egg")));
/// assert_eq!(wheel.cancel(egg), None); // fired already
/// ```
#[derive(Debug)]
pub struct Wheel<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// Everything before this tick has been handed out. Never moves back.
    current: u64,
    /// One bit per slot that holds a timer.
    occupied: [u64; LEVELS],
    /// `LEVELS * SLOTS` slots, then the parked list.
    lists: Box<[List]>,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time starts at tick 0.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty wheel with room for `capacity` timers before it has to allocate.
    pub fn with_capacity(capacity: usize) -> Self {
        Wheel {
            entries: Vec::with_capacity(capacity),
            free: NIL,
            len: 0,
            current: 0,
            occupied: [0; LEVELS],
            lists: vec![List::EMPTY; PARKED + 1].into_boxed_slice(),
        }
    }

    /// Adds a timer. A deadline already passed makes it due at once.
    ///
    /// # Panics
    /// With 2^32 - 1 timers live at once, which would take more than 100 GB.
    pub fn insert(&mut self, deadline: Tick, value: T) -> TimerId {
        let index = self.allocate(deadline, value);
        self.link(index);
        self.len += 1;
        TimerId {
            index,
            generation: self.entries[index as usize].generation,
        }
    }

    /// Takes a timer out before it fires and gives its value back; `None` when it fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.find(id)?;
        self.unlink(id.index);
        self.release(id.index)
    }

    /// Moves a live timer to another deadline and keeps its id. It queues behind timers already waiting for that
    /// tick. `false` when the timer fired or was cancelled before.
    pub fn reset(&mut self, id: TimerId, deadline: Tick) -> bool {
        if self.find(id).is_none() {
            return false;
        }
        self.unlink(id.index);
        self.entries[id.index as usize].deadline = deadline.0;
        self.link(id.index);
        true
    }

    /// Takes out the next timer that is due at `now`, or `None` when there is no more.
    ///
    /// Time does not run backwards here: a `now` before one already seen counts as the latest seen.
    pub fn pop_expired(&mut self, now: Tick) -> Option<(TimerId, T)> {
        let now = now.0.max(self.current);
        while let Some((start, place)) = self.next_slot() {
            if start > now {
                break;
            }
            self.current = self.current.max(start);
            if place < SLOTS {
                let index = self.lists[place].head;
                let id = TimerId {
                    index,
                    generation: self.entries[index as usize].generation,
                };
                self.unlink(index);
                return self.release(index).map(|value| (id, value));
            }
            self.cascade(place);
        }
        // Nothing starts up to `now`, so every timer left keeps its level and slot when the wheel moves there.
        self.current = now;
        None
    }

    /// When to ask again: no timer is due before this tick. `None` when there are no timers.
    ///
    /// Exact, except after the earliest timer of a slot was cancelled or re-armed: then it may be too early, and
    /// one call of [`pop_expired`](Self::pop_expired) at that tick puts it right.
    pub fn next_deadline(&self) -> Option<Tick> {
        let (start, place) = self.next_slot()?;
        Some(Tick(if place < SLOTS {
            start
        } else {
            self.lists[place].earliest
        }))
    }

    /// The deadline of a live timer, as it was given.
    pub fn deadline(&self, id: TimerId) -> Option<Tick> {
        self.find(id).map(|entry| Tick(entry.deadline))
    }

    /// The value of a live timer.
    pub fn get(&self, id: TimerId) -> Option<&T> {
        self.find(id)?.value.as_ref()
    }

    /// How many timers are live.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is live.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn find(&self, id: TimerId) -> Option<&Entry<T>> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation && entry.value.is_some()).then_some(entry)
    }

    /// The first tick of the earliest occupied slot, and the slot.
    ///
    /// A timer sits on the level of the highest 6-bit digit in which its deadline differs from `current`. So all of
    /// level 0 comes before all of level 1 and so on, no level wraps around, and the lowest bit is the earliest.
    fn next_slot(&self) -> Option<(u64, usize)> {
        for (level, &occupied) in self.occupied.iter().enumerate() {
            if occupied != 0 {
                let slot = u64::from(occupied.trailing_zeros());
                let shift = BITS * level as u32;
                let base = self.current & !((1 << (shift + BITS)) - 1);
                return Some((base | (slot << shift), level * SLOTS + slot as usize));
            }
        }
        let parked = &self.lists[PARKED];
        (parked.head != NIL).then_some((parked.earliest & !(SPAN - 1), PARKED))
    }

    /// Places the timers of a slot again, now that `current` stands at its start: each lands on a lower level.
    fn cascade(&mut self, place: usize) {
        let mut index = std::mem::replace(&mut self.lists[place], List::EMPTY).head;
        if place != PARKED {
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        }
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// Appends an entry to the list its deadline belongs to.
    fn link(&mut self, index: u32) {
        let when = self.entries[index as usize].deadline.max(self.current);
        let place = self.place_of(when);
        if place != PARKED {
            self.occupied[place / SLOTS] |= 1 << (place % SLOTS);
        }
        let list = &mut self.lists[place];
        let last = list.tail;
        list.tail = index;
        list.earliest = list.earliest.min(when);
        if last == NIL {
            list.head = index;
        } else {
            self.entries[last as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.previous = last;
        entry.next = NIL;
        entry.place = place as u16;
    }

    fn place_of(&self, when: u64) -> usize {
        let difference = when ^ self.current;
        if difference >= SPAN {
            return PARKED;
        }
        // `| 1` only spares the case of equality; it cannot change the level.
        let level = (difference | 1).ilog2() / BITS;
        let slot = (when >> (level * BITS)) as usize % SLOTS;
        level as usize * SLOTS + slot
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (previous, next, place) = (entry.previous, entry.next, usize::from(entry.place));
        if previous == NIL {
            self.lists[place].head = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next == NIL {
            self.lists[place].tail = previous;
        } else {
            self.entries[next as usize].previous = previous;
        }
        if self.lists[place].head == NIL {
            self.lists[place] = List::EMPTY;
            if place != PARKED {
                self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            }
        }
    }

    fn allocate(&mut self, deadline: Tick, value: T) -> u32 {
        if self.free != NIL {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.deadline = deadline.0;
            entry.value = Some(value);
            return index;
        }
        assert!(
            self.entries.len() < NIL as usize,
            "2^32 - 1 timers are live"
        );
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            deadline: deadline.0,
            generation: 0,
            previous: NIL,
            next: NIL,
            place: 0,
            value: Some(value),
        });
        index
    }

    /// Takes the value out of an unlinked entry and makes its id stale.
    fn release(&mut self, index: u32) -> Option<T> {
        self.len -= 1;
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take();
        // An entry whose generations are used up is retired: its last id must not come to life again.
        if entry.generation < u32::MAX {
            entry.generation += 1;
            entry.next = self.free;
            self.free = index;
        }
        value
    }
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Entry<T> {
    deadline: u64,
    generation: u32,
    previous: u32,
    /// The next entry of the same list, or of the free list when `value` is `None`.
    next: u32,
    place: u16,
    value: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    /// No entry of the list is due before. Removing an entry does not raise it, emptying the list does.
    earliest: u64,
}

impl List {
    const EMPTY: List = List {
        head: NIL,
        tail: NIL,
        earliest: u64::MAX,
    };
}

const NANOS_PER_TICK: u128 = 1_000_000;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 6;
/// Ticks the levels cover.
const SPAN: u64 = 1 << (BITS * LEVELS as u32);
/// Place of the list of deadlines outside the span that `current` stands in.
const PARKED: usize = LEVELS * SLOTS;
const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn drain<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<T> {
        std::iter::from_fn(|| wheel.pop_expired(Tick(now)))
            .map(|(_, value)| value)
            .collect()
    }

    #[test]
    fn fires_at_the_deadline_and_not_before() {
        let interesting = [
            0,
            1,
            63,
            64,
            65,
            4095,
            4096,
            262_143,
            262_144,
            1 << 24,
            1 << 30,
            SPAN - 1,
            SPAN,
            SPAN + 1,
            5 * SPAN + 7,
            u64::MAX - 1,
            u64::MAX,
        ];
        for start in [0, 1, 63, 64, 4097, SPAN - 1, SPAN + 12_345] {
            for deadline in interesting.into_iter().filter(|&d| d > start) {
                let mut wheel = Wheel::new();
                assert!(wheel.pop_expired(Tick(start)).is_none());
                let id = wheel.insert(Tick(deadline), 'x');
                assert_eq!(wheel.next_deadline(), Some(Tick(deadline)));
                assert_eq!(
                    wheel.pop_expired(Tick(deadline - 1)),
                    None,
                    "{start} {deadline}"
                );
                assert_eq!(wheel.next_deadline(), Some(Tick(deadline)));
                assert_eq!(wheel.pop_expired(Tick(deadline)), Some((id, 'x')));
                assert_eq!(wheel.next_deadline(), None);
                assert!(wheel.is_empty());
            }
        }
    }

    #[test]
    fn orders_by_deadline_then_insertion_over_one_jump() {
        let mut wheel = Wheel::new();
        for (name, deadline) in [
            ("d", 5000),
            ("a", 3),
            ("e", SPAN + 9),
            ("b", 64),
            ("c", 64),
            ("f", SPAN + 9),
        ] {
            wheel.insert(Tick(deadline), name);
        }
        assert_eq!(drain(&mut wheel, u64::MAX), ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn keeps_insertion_order_between_a_cascaded_and_a_fresh_timer() {
        let mut wheel = Wheel::new();
        wheel.insert(Tick(100), "inserted from afar");
        assert_eq!(drain(&mut wheel, 70), [""; 0]);
        wheel.insert(Tick(100), "inserted from near");
        assert_eq!(
            drain(&mut wheel, 100),
            ["inserted from afar", "inserted from near"]
        );
    }

    #[test]
    fn a_passed_deadline_is_due_at_once() {
        let mut wheel = Wheel::new();
        assert!(wheel.pop_expired(Tick(1000)).is_none());
        wheel.insert(Tick(1000), "now");
        wheel.insert(Tick(7), "passed");
        wheel.insert(Tick(1001), "next");
        assert_eq!(wheel.next_deadline(), Some(Tick(1000)));
        assert_eq!(drain(&mut wheel, 1000), ["now", "passed"]);
    }

    #[test]
    fn a_clock_that_steps_back_neither_loses_nor_delays() {
        let mut wheel = Wheel::new();
        assert!(wheel.pop_expired(Tick(1000)).is_none());
        wheel.insert(Tick(900), "passed");
        wheel.insert(Tick(1010), "later");
        assert_eq!(drain(&mut wheel, 10), ["passed"]);
        assert_eq!(drain(&mut wheel, 1010), ["later"]);
    }

    #[test]
    fn stale_ids_touch_nothing() {
        let mut wheel = Wheel::new();
        let first = wheel.insert(Tick(5), 1);
        assert_eq!(wheel.cancel(first), Some(1));
        let second = wheel.insert(Tick(6), 2);
        assert_eq!(first.index, second.index, "the entry is used again");
        assert_eq!(wheel.cancel(first), None);
        assert!(!wheel.reset(first, Tick(1)));
        assert_eq!(wheel.get(first), None);
        assert_eq!(
            (wheel.get(second), wheel.deadline(second)),
            (Some(&2), Some(Tick(6)))
        );
        assert_eq!(wheel.pop_expired(Tick(6)), Some((second, 2)));
        assert_eq!(wheel.cancel(second), None);
    }

    #[test]
    fn an_entry_with_its_generations_used_up_is_retired() {
        let mut wheel = Wheel::new();
        let id = wheel.insert(Tick(1), ());
        wheel.entries[id.index as usize].generation = u32::MAX;
        let last = TimerId {
            generation: u32::MAX,
            ..id
        };
        assert_eq!(wheel.cancel(last), Some(()));
        let fresh = wheel.insert(Tick(1), ());
        assert_ne!(fresh.index, last.index);
        assert_eq!(wheel.cancel(last), None);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn cancelling_the_earliest_costs_one_early_look_and_no_spin() {
        let mut wheel = Wheel::new();
        let early = wheel.insert(Tick(5000), "early");
        wheel.insert(Tick(6000), "late");
        wheel.cancel(early);
        assert_eq!(wheel.next_deadline(), Some(Tick(5000)));
        assert_eq!(wheel.pop_expired(Tick(5000)), None);
        assert_eq!(wheel.next_deadline(), Some(Tick(6000)));
        let early = wheel.insert(Tick(2 * SPAN + 1), "early");
        wheel.insert(Tick(2 * SPAN + 2), "late");
        wheel.cancel(early);
        assert_eq!(drain(&mut wheel, 2 * SPAN + 1), ["late"]);
        assert_eq!(wheel.next_deadline(), Some(Tick(2 * SPAN + 2)));
    }

    #[test]
    fn a_callback_may_insert_and_cancel() {
        let mut wheel = Wheel::new();
        wheel.insert(Tick(10), "first");
        let doomed = wheel.insert(Tick(20), "doomed");
        wheel.insert(Tick(90), "last");
        assert_eq!(wheel.pop_expired(Tick(100)).map(|(_, v)| v), Some("first"));
        wheel.cancel(doomed);
        wheel.insert(Tick(50), "between");
        assert_eq!(drain(&mut wheel, 100), ["between", "last"]);
    }

    #[test]
    fn ticks_round_deadlines_up_and_the_present_down() {
        assert_eq!(Tick::ceil(Duration::from_nanos(1)), Tick(1));
        assert_eq!(Tick::ceil(Duration::from_millis(1)), Tick(1));
        assert_eq!(Tick::floor(Duration::from_nanos(1_999_999)), Tick(1));
        assert_eq!(Tick(3).after(Duration::from_micros(1)), Tick(4));
        assert_eq!(Tick(3).after(Duration::MAX), Tick(u64::MAX));
        assert_eq!(Tick(9).since(Tick(4)), Duration::from_millis(5));
        assert_eq!(Tick(4).since(Tick(9)), Duration::ZERO);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        InsertPassed(u64),
        Cancel(prop::sample::Index),
        Reset(prop::sample::Index, u64),
        /// Move time and take out at most so many.
        Advance(u64, usize),
    }

    /// Distances of every magnitude, and often the edges of slots.
    fn distance() -> impl Strategy<Value = u64> {
        (0u32..40, 0u64..4, any::<u64>()).prop_map(|(bits, kind, noise)| match kind {
            0 => 1 << bits,
            1 => (1 << bits) - 1,
            _ => noise & ((1 << bits) - 1),
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => distance().prop_map(Step::Insert),
            1 => (0u64..200).prop_map(Step::InsertPassed),
            2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            2 => (any::<prop::sample::Index>(), distance()).prop_map(|(i, d)| Step::Reset(i, d)),
            4 => (distance(), 0usize..6).prop_map(|(d, n)| Step::Advance(d, n)),
        ]
    }

    /// The obviously right thing: a sorted map, and the list of all ids ever given out.
    #[derive(Default)]
    struct Model {
        current: u64,
        sequence: u64,
        live: BTreeMap<(u64, u64), usize>,
        ids: Vec<(TimerId, Option<(u64, u64)>)>,
    }

    impl Model {
        fn key(&mut self, deadline: u64) -> (u64, u64) {
            self.sequence += 1;
            (deadline.max(self.current), self.sequence)
        }

        fn pop(&mut self, now: u64) -> Option<usize> {
            let now = now.max(self.current);
            match self.live.first_key_value() {
                Some((&(deadline, _), _)) if deadline <= now => {
                    self.current = deadline;
                    let (_, which) = self.live.pop_first()?;
                    self.ids[which].1 = None;
                    Some(which)
                }
                _ => {
                    self.current = now;
                    None
                }
            }
        }
    }

    fn apply(model: &mut Model, wheel: &mut Wheel<usize>, now: &mut u64, step: Step) {
        match step {
            Step::Insert(_) | Step::InsertPassed(_) => {
                let deadline = match step {
                    Step::Insert(ahead) => now.saturating_add(ahead),
                    Step::InsertPassed(behind) => now.saturating_sub(behind),
                    _ => unreachable!(),
                };
                let which = model.ids.len();
                let key = model.key(deadline);
                model.live.insert(key, which);
                model
                    .ids
                    .push((wheel.insert(Tick(deadline), which), Some(key)));
            }
            Step::Cancel(pick) if !model.ids.is_empty() => {
                let which = pick.index(model.ids.len());
                let (id, key) = &mut model.ids[which];
                let expected = key.take().map(|key| {
                    model.live.remove(&key);
                    which
                });
                assert_eq!(wheel.cancel(*id), expected);
            }
            Step::Reset(pick, ahead) if !model.ids.is_empty() => {
                let which = pick.index(model.ids.len());
                let deadline = now.saturating_add(ahead);
                let (id, old) = model.ids[which];
                assert_eq!(wheel.reset(id, Tick(deadline)), old.is_some());
                if let Some(old) = old {
                    model.live.remove(&old);
                    let key = model.key(deadline);
                    model.live.insert(key, which);
                    model.ids[which].1 = Some(key);
                }
            }
            Step::Cancel(_) | Step::Reset(..) => {}
            Step::Advance(ahead, count) => {
                *now = now.saturating_add(ahead);
                for _ in 0..count {
                    let expected = model.pop(*now);
                    assert_eq!(
                        wheel.pop_expired(Tick(*now)).map(|(_, which)| which),
                        expected
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(steps in prop::collection::vec(step(), 1..120)) {
            let mut model = Model::default();
            let mut wheel = Wheel::new();
            let mut now = 0;
            for step in steps {
                apply(&mut model, &mut wheel, &mut now, step);
                prop_assert_eq!(wheel.len(), model.live.len());
                let earliest = model.live.first_key_value().map(|(&(deadline, _), _)| Tick(deadline));
                let told = wheel.next_deadline();
                prop_assert_eq!(told.is_some(), earliest.is_some());
                prop_assert!(told <= earliest, "told {:?}, earliest {:?}", told, earliest);
            }
            loop {
                let expected = model.pop(u64::MAX);
                let got = wheel.pop_expired(Tick(u64::MAX));
                prop_assert_eq!(got.map(|(_, which)| which), expected);
                if got.is_none() {
                    break;
                }
            }
            prop_assert!(wheel.is_empty() && wheel.next_deadline().is_none());
        }

        /// A sleeper that trusts `next_deadline` meets every timer exactly at its deadline, and looks in vain at
        /// most once per cancelled or re-armed timer.
        #[test]
        fn sleeping_until_the_next_deadline_is_exact(
            deadlines in prop::collection::vec(distance(), 1..60),
            cancelled in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut wheel = Wheel::new();
            let ids: Vec<_> = deadlines.iter().map(|&d| wheel.insert(Tick(d), d)).collect();
            let gone = cancelled.iter().filter(|pick| wheel.cancel(ids[pick.index(ids.len())]).is_some()).count();
            let mut vain = 0;
            while let Some(now) = wheel.next_deadline() {
                let mut fired = 0;
                while let Some((_, deadline)) = wheel.pop_expired(now) {
                    prop_assert_eq!(Tick(deadline), now);
                    fired += 1;
                }
                vain += usize::from(fired == 0);
                prop_assert!(wheel.next_deadline().is_none_or(|next| next > now));
            }
            prop_assert!(vain <= gone, "looked {} times in vain after {} cancellations", vain, gone);
        }
    }
}
