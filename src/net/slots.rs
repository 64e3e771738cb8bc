//! A table whose keys go stale: slot and generation in one number (network.md B.12).

use super::driver::Token;
use super::id::SessionId;

/// Slot in the low half, generation in the high one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn token(self) -> Token {
        Token(self.0)
    }

    pub(crate) fn session(self) -> SessionId {
        SessionId::from_u64(self.0)
    }

    pub(crate) fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    fn new(slot: usize, generation: u32) -> Self {
        Key(u64::from(generation) << 32 | slot as u64)
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl From<Token> for Key {
    fn from(token: Token) -> Self {
        Key(token.0)
    }
}

impl From<SessionId> for Key {
    fn from(id: SessionId) -> Self {
        Key(id.as_u64())
    }
}

/// Values by key. A removed value's key never finds another one: the slot's generation grows, and a slot whose
/// generations are used up is retired.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    /// Room for so many values before more has to be found.
    pub(crate) fn reserve(&mut self, values: usize) {
        self.entries.reserve(values);
        self.free.reserve(values);
    }

    pub(crate) fn new() -> Self {
        Slots {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The key the next [`Slots::insert`] gives.
    pub(crate) fn next_key(&self) -> Key {
        match self.free.last() {
            Some(slot) => Key::new(*slot as usize, self.entries[*slot as usize].generation),
            None => Key::new(self.entries.len(), 0),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.hold();
        self.entries[key.slot()].value = Some(value);
        key
    }

    /// A key without a value yet, for [`Slots::put`] or [`Slots::release`].
    pub(crate) fn hold(&mut self) -> Key {
        let key = self.next_key();
        if self.free.pop().is_none() {
            assert!(
                self.entries.len() < u32::MAX as usize,
                "slots are bounded by the limits"
            );
            self.entries.push(Entry {
                generation: 0,
                value: None,
            });
        }
        key
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot())?;
        if entry.generation != key.generation() {
            return None;
        }
        let value = entry.value.take()?;
        self.retire(key);
        Some(value)
    }

    /// Takes a value out but keeps its key alive, for [`Slots::put`] or [`Slots::release`].
    pub(crate) fn take(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot())?;
        if entry.generation == key.generation() {
            entry.value.take()
        } else {
            None
        }
    }

    /// Puts a value where one was taken out.
    pub(crate) fn put(&mut self, key: Key, value: T) {
        let entry = &mut self.entries[key.slot()];
        assert!(
            entry.generation == key.generation() && entry.value.is_none(),
            "a slot taken out"
        );
        entry.value = Some(value);
    }

    /// Gives up a slot whose value was taken out.
    pub(crate) fn release(&mut self, key: Key) {
        let entry = &self.entries[key.slot()];
        assert!(
            entry.generation == key.generation() && entry.value.is_none(),
            "a slot taken out"
        );
        self.retire(key);
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.slot())?;
        if entry.generation == key.generation() {
            entry.value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.slot())?;
        if entry.generation == key.generation() {
            entry.value.as_ref()
        } else {
            None
        }
    }

    /// All keys in use, in slot order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let used = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.value.is_some());
        used.map(|(slot, e)| Key::new(slot, e.generation)).collect()
    }

    fn retire(&mut self, key: Key) {
        let entry = &mut self.entries[key.slot()];
        // The last generation is never given out: with it the driver's own token could be met.
        if entry.generation < u32::MAX - 1 {
            entry.generation += 1;
            self.free.push(key.slot() as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_stale() {
        let mut slots = Slots::new();
        let expected = slots.next_key();
        let a = slots.insert('a');
        assert_eq!(a, expected);
        assert_eq!(slots.remove(a), Some('a'));
        let b = slots.insert('b');
        assert_eq!(
            (a.slot(), slots.get(a), slots.get(b)),
            (b.slot(), None, Some(&'b'))
        );
        assert_eq!(slots.get_mut(b), Some(&mut 'b'));
        assert_eq!(slots.remove(a), None);
        assert_eq!(slots.keys(), [b]);
    }

    #[test]
    fn a_value_can_change_under_its_key() {
        let mut slots = Slots::new();
        let a = slots.insert('a');
        assert_eq!(slots.take(a), Some('a'));
        assert_eq!((slots.take(a), slots.get(a)), (None, None));
        assert_ne!(slots.insert('x'), a);
        slots.put(a, 'b');
        assert_eq!(slots.get(a), Some(&'b'));
    }

    #[test]
    fn a_slot_is_retired_when_its_generations_are_used_up() {
        let mut slots = Slots::new();
        let a = slots.insert(1);
        slots.entries[a.slot()].generation = u32::MAX - 1;
        let last = slots.keys()[0];
        assert_eq!(slots.remove(last), Some(1));
        let fresh = slots.insert(2);
        assert_ne!(fresh.slot(), last.slot());
        assert_eq!(slots.get(last), None);
    }
}
