//! What a local transaction has recorded so far: undo items and lock keys, per savepoint.

/// Things that the statements of a local transaction left behind. What a savepoint takes back goes with it.
#[derive(Debug)]
pub(super) struct Recorded<T> {
    items: Vec<T>,
    savepoints: Vec<(String, usize)>,
}

/// How the database treats a savepoint with the name of an open one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SameName {
    /// The old one is gone: MySQL.
    Replaces,
    /// The old one is back when the new one is released: PostgreSQL and SQLite.
    Hides,
}

impl<T> Default for Recorded<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            savepoints: Vec::new(),
        }
    }
}

impl<T> Recorded<T> {
    /// Adds what one statement left behind.
    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Drops what was added beyond so many: a statement that failed half-way leaves nothing.
    pub(super) fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
    }

    /// A savepoint was set.
    pub(super) fn set(&mut self, name: String, same_name: SameName) {
        if same_name == SameName::Replaces {
            self.savepoints.retain(|(other, _)| *other != name);
        }
        self.savepoints.push((name, self.items.len()));
    }

    /// The transaction went back to a savepoint, which stays.
    pub(super) fn roll_back_to(&mut self, name: &str) {
        if let Some(place) = self.place(name) {
            self.items.truncate(self.savepoints[place].1);
            self.savepoints.truncate(place + 1);
        }
    }

    /// A savepoint and those set after it are forgotten; what was recorded stays.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(place) = self.place(name) {
            self.savepoints.truncate(place);
        }
    }

    /// All of it, in the order of the statements.
    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    /// Takes all of it out: no statement comes any more.
    pub(super) fn take(&mut self) -> Vec<T> {
        self.savepoints.clear();
        std::mem::take(&mut self.items)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(other, _)| other == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_savepoint_takes_back_what_came_after_it() {
        let mut recorded = Recorded::default();
        recorded.push(1);
        recorded.set("a".to_owned(), SameName::Hides);
        recorded.push(2);
        recorded.set("b".to_owned(), SameName::Hides);
        recorded.push(3);
        recorded.roll_back_to("a");
        assert_eq!(recorded.items(), [1]);
        recorded.push(4);
        recorded.roll_back_to("a");
        assert_eq!(recorded.items(), [1]);
        // Gone with the first rollback.
        recorded.push(5);
        recorded.roll_back_to("b");
        assert_eq!(recorded.items(), [1, 5]);
    }

    #[test]
    fn a_released_savepoint_hands_on_what_it_had() {
        let mut recorded = Recorded::default();
        recorded.set("a".to_owned(), SameName::Hides);
        recorded.push(1);
        recorded.set("b".to_owned(), SameName::Hides);
        recorded.push(2);
        recorded.release("b");
        assert_eq!(recorded.items(), [1, 2]);
        recorded.roll_back_to("a");
        assert!(recorded.items().is_empty());
    }

    #[test]
    fn one_name_twice_is_two_savepoints_or_one() {
        for (same_name, left) in [(SameName::Hides, 1), (SameName::Replaces, 2)] {
            let mut recorded = Recorded::default();
            recorded.set("a".to_owned(), same_name);
            recorded.push(1);
            recorded.set("a".to_owned(), same_name);
            recorded.push(2);
            recorded.release("a");
            recorded.roll_back_to("a");
            let expected = if left == 1 { 0 } else { 2 };
            assert_eq!(recorded.items().len(), expected, "{same_name:?}");
        }
    }
}
