//! Row locks: the grammar of lock keys and the table of held rows (coordinator.md 3).
//!
//! A lock key is `table:pk,pk;table:pk`; a row is (resource, table, pk). [`parse`] checks a key once and then walks its
//! rows without allocating. [`LockTable`] keeps who holds which row.
//!
//! # What the table guarantees
//!
//! - A row is held by one transaction at a time. Rows are compared in full, a hash only finds them.
//! - A row stays held until no remaining branch of its transaction listed it, whatever order the branches end in. Of
//!   those that remain, the one registered first is named as the holder.
//! - Releasing a branch costs time in its own rows, not in the size of the table.
//!
//! It leaves out who may lock: that only AT branches do, and that a refusal takes nothing, is decided by its caller,
//! which asks [`LockTable::conflict`] before it takes.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use slab::Slab;

use crate::proto::Text;
use crate::xid::BranchId;

/// Checks a lock key and gives its rows, in the order of the key.
///
/// Empty groups (`t:1;`) and blank primary keys (`t:1,,2`) are skipped. An empty key has no rows. The rest is opaque:
/// the first colon of a group ends the table's name, later ones belong to the primary key.
///
/// # Errors
///
/// A group that is not empty and has no colon, or none but blank primary keys. Locking less than was asked would be
/// worse than refusing.
pub fn parse(lock_key: &str) -> Result<Rows<'_>, MalformedLockKey> {
    for (number, group) in lock_key.split(';').enumerate() {
        if group.is_empty() {
            continue;
        }
        let fault = match group.split_once(':') {
            None => LockKeyFault::NoColon,
            Some((_, pks)) if pks.split(',').all(is_blank) => LockKeyFault::NoPrimaryKey,
            Some(_) => continue,
        };
        let text = group.chars().take(SHOWN_CHARS).collect();
        return Err(MalformedLockKey {
            group: number + 1,
            text,
            fault,
        });
    }
    Ok(Rows::new(lock_key))
}

/// Rows of a well-formed lock key.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    key: &'a str,
    /// Where the next group starts, when `table` is none.
    at: usize,
    /// The table of the group being read: start and end of its name.
    table: Option<(usize, usize)>,
}

impl<'a> Rows<'a> {
    fn new(key: &'a str) -> Self {
        Self {
            key,
            at: 0,
            table: None,
        }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        let bytes = self.key.as_bytes();
        loop {
            let (table_at, table_end) = match self.table {
                Some(table) => table,
                None => {
                    let rest = bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
                    match rest.iter().position(|b| matches!(b, b':' | b';')) {
                        Some(end) if rest[end] == b':' => {
                            let table = (self.at, self.at + end);
                            self.table = Some(table);
                            self.at += end + 1;
                            table
                        }
                        Some(end) => {
                            self.at += end + 1;
                            continue;
                        }
                        None => {
                            self.at = bytes.len();
                            return None;
                        }
                    }
                }
            };
            let pk_at = self.at;
            let rest = &bytes[pk_at..];
            let end = rest.iter().position(|b| matches!(b, b',' | b';'));
            let pk_end = pk_at + end.unwrap_or(rest.len());
            if end.is_none_or(|end| rest[end] == b';') {
                self.table = None;
            }
            self.at = pk_end + usize::from(end.is_some());
            let pk = &self.key[pk_at..pk_end];
            if !is_blank(pk) {
                return Some(Row {
                    table: &self.key[table_at..table_end],
                    pk,
                    table_at,
                    pk_at,
                });
            }
        }
    }
}

/// One row of a lock key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The table's name as sent.
    pub table: &'a str,
    /// The primary key as sent; columns of a composite key are joined by `_` on the client.
    pub pk: &'a str,
    table_at: usize,
    pk_at: usize,
}

/// A lock key that cannot be read; refused with FailedToAddBranch or LockableCheckFailed, never as a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedLockKey {
    /// Which group, counted from 1.
    pub group: usize,
    /// How it begins (at most 64 characters).
    pub text: String,
    /// What is wrong with it.
    pub fault: LockKeyFault,
}

/// What is wrong with a group of a lock key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKeyFault {
    /// No colon after the table's name.
    NoColon,
    /// No primary key, or only blank ones.
    NoPrimaryKey,
}

impl fmt::Display for MalformedLockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            LockKeyFault::NoColon => "has no colon",
            LockKeyFault::NoPrimaryKey => "has no primary key",
        };
        write!(
            f,
            "group {} of the lock key {fault}: {:?}",
            self.group, self.text
        )
    }
}

impl std::error::Error for MalformedLockKey {}

/// Writes a row the way messages and databases spell it.
pub(crate) fn row_name(resource_id: &str, row: &Row<'_>) -> String {
    format!("{resource_id}^^^{}^^^{}", row.table, row.pk)
}

/// A branch that holds rows.
#[derive(Debug)]
pub struct Holder {
    /// Its transaction; rows of one transaction do not conflict.
    pub transaction_id: i64,
    /// The branch.
    pub branch_id: BranchId,
    /// When it was registered, in ms since 1970.
    pub since_ms: i64,
    /// The resource of all its rows.
    pub resource_id: Text,
    /// Its rows: a key that [`parse`] accepts, shorter than 4 GiB.
    pub lock_key: Text,
}

/// Which rows are held, and by whom.
///
/// Open addressing over nodes of 20 bytes. A node says where in its branch's lock key the row is spelled, so no text is
/// kept twice. Several branches of one transaction that list a row make a chain, in the order of registration.
#[derive(Debug, Default)]
pub struct LockTable {
    hasher: RandomState,
    /// Index of a node plus one; 0 is free. Length 0 or a power of two.
    slots: Vec<u32>,
    nodes: Vec<Node>,
    /// First of the free nodes, chained by `next`.
    free: Option<u32>,
    rows: usize,
    holders: Slab<Holder>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u32,
    holder: u32,
    table_at: u32,
    pk_at: u32,
    /// The next listing of this row, or of the free chain, plus one; 0 ends it.
    next: u32,
}

/// A branch in the table, as [`LockTable::acquire`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderKey(u32);

/// A row is held by another transaction than the one that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl LockTable {
    /// Takes every row of the branch. The caller has asked [`LockTable::conflict`]; should a row be held by another
    /// transaction all the same, nothing is taken.
    ///
    /// # Errors
    ///
    /// A row is held by another transaction.
    pub fn acquire(&mut self, holder: Holder) -> Result<HolderKey, Taken> {
        let transaction_id = holder.transaction_id;
        let lock_key = holder.lock_key.clone();
        let resource_id = holder.resource_id.clone();
        let key = self.holders.insert(holder);
        let slot = u32::try_from(key).expect("fewer than 2^32 branches hold rows");
        let mut digest = RowDigest::new(self.hasher.clone(), &resource_id);
        for row in Rows::new(&lock_key) {
            let hash = digest.of(&row);
            match self.find(hash, &resource_id, &row) {
                Some(position) => {
                    let first = self.slots[position] - 1;
                    let held_by = self.nodes[first as usize].holder as usize;
                    if self.holders[held_by].transaction_id != transaction_id {
                        self.release(HolderKey(slot));
                        return Err(Taken);
                    }
                    self.append(first, slot, hash, &row);
                }
                None => self.insert(slot, hash, &row),
            }
        }
        Ok(HolderKey(slot))
    }

    /// Gives back what the branch listed, and forgets the branch: the key must not be used again. Rows that another branch of its transaction listed too stay held.
    pub fn release(&mut self, key: HolderKey) {
        let holder = &self.holders[key.0 as usize];
        let (resource_id, lock_key) = (holder.resource_id.clone(), holder.lock_key.clone());
        let mut digest = RowDigest::new(self.hasher.clone(), &resource_id);
        for row in Rows::new(&lock_key) {
            let hash = digest.of(&row);
            // A row listed twice was taken once, so the second time there is nothing.
            if let Some(position) = self.find(hash, &resource_id, &row) {
                self.unlink(position, key.0);
            }
        }
        self.holders.remove(key.0 as usize);
        if self.rows == 0 && self.nodes.capacity() > NODES_KEPT {
            self.slots = Vec::new();
            self.nodes = Vec::new();
            self.free = None;
        }
    }

    /// The first row of `lock_key` that a transaction other than `transaction_id` holds, with its holder.
    pub fn conflict<'a>(
        &self,
        transaction_id: Option<i64>,
        resource_id: &str,
        lock_key: &'a str,
    ) -> Option<(Row<'a>, &Holder)> {
        if self.rows == 0 {
            return None;
        }
        let mut digest = RowDigest::new(self.hasher.clone(), resource_id);
        Rows::new(lock_key).find_map(|row| {
            let position = self.find(digest.of(&row), resource_id, &row)?;
            let node = self.nodes[self.slots[position] as usize - 1];
            let holder = &self.holders[node.holder as usize];
            (Some(holder.transaction_id) != transaction_id).then_some((row, holder))
        })
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Branches that hold rows.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.holders.len()
    }

    fn find(&self, hash: u32, resource_id: &str, row: &Row<'_>) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut position = hash as usize & mask;
        while self.slots[position] != 0 {
            let node = self.nodes[self.slots[position] as usize - 1];
            if node.hash == hash && self.spells(&node, resource_id, row) {
                return Some(position);
            }
            position = (position + 1) & mask;
        }
        None
    }

    fn spells(&self, node: &Node, resource_id: &str, row: &Row<'_>) -> bool {
        let holder = &self.holders[node.holder as usize];
        let key = holder.lock_key.as_bytes();
        let table = key[node.table_at as usize..].strip_prefix(row.table.as_bytes());
        let pk = key[node.pk_at as usize..].strip_prefix(row.pk.as_bytes());
        pk.is_some_and(|rest| matches!(rest.first(), None | Some(b',' | b';')))
            && table.is_some_and(|rest| rest.first() == Some(&b':'))
            && holder.resource_id.as_bytes() == resource_id.as_bytes()
    }

    fn insert(&mut self, holder: u32, hash: u32, row: &Row<'_>) {
        if (self.rows + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let node = self.new_node(holder, hash, row);
        let mask = self.slots.len() - 1;
        let mut position = hash as usize & mask;
        while self.slots[position] != 0 {
            position = (position + 1) & mask;
        }
        self.slots[position] = node + 1;
        self.rows += 1;
    }

    /// Adds a listing behind `first`, unless this branch has listed the row already.
    fn append(&mut self, first: u32, holder: u32, hash: u32, row: &Row<'_>) {
        let mut last = first;
        while self.nodes[last as usize].next != 0 {
            last = self.nodes[last as usize].next - 1;
        }
        if self.nodes[last as usize].holder != holder {
            let node = self.new_node(holder, hash, row);
            self.nodes[last as usize].next = node + 1;
        }
    }

    fn unlink(&mut self, position: usize, holder: u32) {
        let mut before = None;
        let mut index = self.slots[position] - 1;
        while self.nodes[index as usize].holder != holder {
            let next = self.nodes[index as usize].next;
            if next == 0 {
                return;
            }
            before = Some(index);
            index = next - 1;
        }
        let next = self.nodes[index as usize].next;
        match before {
            Some(before) => self.nodes[before as usize].next = next,
            None if next != 0 => self.slots[position] = next,
            None => {
                self.clear_slot(position);
                self.rows -= 1;
            }
        }
        self.nodes[index as usize].next = self.free.map_or(0, |free| free + 1);
        self.free = Some(index);
    }

    /// Frees a slot and moves back what had been pushed behind it.
    fn clear_slot(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut position = hole;
        loop {
            position = (position + 1) & mask;
            let slot = self.slots[position];
            if slot == 0 {
                break;
            }
            let home = self.nodes[slot as usize - 1].hash as usize & mask;
            if position.wrapping_sub(home) & mask >= position.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = position;
            }
        }
        self.slots[hole] = 0;
    }

    fn new_node(&mut self, holder: u32, hash: u32, row: &Row<'_>) -> u32 {
        let offset = |at: usize| u32::try_from(at).expect("a lock key is shorter than 4 GiB");
        let node = Node {
            hash,
            holder,
            table_at: offset(row.table_at),
            pk_at: offset(row.pk_at),
            next: 0,
        };
        if let Some(index) = self.free {
            let next = self.nodes[index as usize].next;
            self.free = next.checked_sub(1);
            self.nodes[index as usize] = node;
            return index;
        }
        let index = u32::try_from(self.nodes.len())
            .ok()
            .filter(|i| *i < u32::MAX);
        self.nodes.push(node);
        index.expect("fewer than 2^32 rows are locked")
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(SLOTS_MIN);
        let mask = length - 1;
        let mut slots = vec![0; length];
        for slot in self.slots.iter().filter(|slot| **slot != 0) {
            let mut position = self.nodes[*slot as usize - 1].hash as usize & mask;
            while slots[position] != 0 {
                position = (position + 1) & mask;
            }
            slots[position] = *slot;
        }
        self.slots = slots;
    }
}

/// Hashes the rows of one resource; what the rows of a table share is hashed once.
struct RowDigest<'a> {
    hasher: RandomState,
    resource_id: &'a str,
    table: Option<(usize, std::hash::DefaultHasher)>,
}

impl<'a> RowDigest<'a> {
    fn new(hasher: RandomState, resource_id: &'a str) -> Self {
        Self {
            hasher,
            resource_id,
            table: None,
        }
    }

    fn of(&mut self, row: &Row<'_>) -> u32 {
        let mut digest = match &self.table {
            Some((at, digest)) if *at == row.table_at => digest.clone(),
            _ => {
                let mut digest = self.hasher.build_hasher();
                digest.write(self.resource_id.as_bytes());
                digest.write_u8(SEPARATOR);
                digest.write(row.table.as_bytes());
                digest.write_u8(SEPARATOR);
                self.table = Some((row.table_at, digest.clone()));
                digest
            }
        };
        digest.write(row.pk.as_bytes());
        digest.finish() as u32
    }
}

fn is_blank(pk: &str) -> bool {
    pk.chars().all(char::is_whitespace)
}

/// Never occurs in UTF-8.
const SEPARATOR: u8 = 0xff;
const SHOWN_CHARS: usize = 64;
const SLOTS_MIN: usize = 64;
/// An empty table gives back its memory when it had grown above this.
const NODES_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rows(key: &str) -> Vec<(&str, &str)> {
        parse(key)
            .expect(key)
            .map(|row| (row.table, row.pk))
            .collect()
    }

    #[test]
    fn reads_the_grammar() {
        assert_eq!(rows(""), []);
        assert_eq!(rows("t:1"), [("t", "1")]);
        assert_eq!(rows("t:1,2;u:a_b"), [("t", "1"), ("t", "2"), ("u", "a_b")]);
        assert_eq!(rows("t:1;"), [("t", "1")], "an empty group is skipped");
        assert_eq!(rows(";;t:1;;u:2;"), [("t", "1"), ("u", "2")]);
        assert_eq!(rows("t:1,, ,2,"), [("t", "1"), ("t", "2")]);
        assert_eq!(rows("t:a:b"), [("t", "a:b")], "the first colon splits");
        assert_eq!(rows("t: 1 ,'x' "), [("t", " 1 "), ("t", "'x' ")]);
        assert_eq!(rows("表:键,é"), [("表", "键"), ("表", "é")]);
        assert_eq!(rows(":1"), [("", "1")]);
    }

    #[test]
    fn refuses_to_lock_less_than_asked() {
        for (key, group, fault) in [
            ("t", 1, LockKeyFault::NoColon),
            ("t:1;u", 2, LockKeyFault::NoColon),
            ("t:1; ", 2, LockKeyFault::NoColon),
            ("t:", 1, LockKeyFault::NoPrimaryKey),
            ("t:1;;u: , ", 3, LockKeyFault::NoPrimaryKey),
        ] {
            let malformed = parse(key).expect_err(key);
            assert_eq!((malformed.group, malformed.fault), (group, fault), "{key}");
            assert!(malformed.to_string().contains(&format!("group {group}")));
        }
    }

    fn holder(transaction_id: i64, branch: i64, lock_key: &str) -> Holder {
        Holder {
            transaction_id,
            branch_id: BranchId(branch),
            since_ms: branch,
            resource_id: Text::from("jdbc:mysql://h/db"),
            lock_key: Text::from(lock_key),
        }
    }

    fn holds(table: &LockTable, key: &str) -> Option<i64> {
        let conflict = table.conflict(None, "jdbc:mysql://h/db", key);
        conflict.map(|(_, holder)| holder.branch_id.0)
    }

    #[test]
    fn a_row_stays_until_no_branch_of_its_transaction_lists_it() {
        for first_ends_first in [true, false] {
            let mut table = LockTable::default();
            let one = table.acquire(holder(1, 10, "t:1,2")).unwrap();
            let two = table.acquire(holder(1, 11, "t:2,3,2")).unwrap();
            assert_eq!(table.len(), 3);
            assert_eq!(holds(&table, "t:2"), Some(10));
            let (ends, stays, left) = match first_ends_first {
                true => (one, two, 11),
                false => (two, one, 10),
            };
            table.release(ends);
            assert_eq!(holds(&table, "t:2"), Some(left));
            assert_eq!(table.len(), 2);
            assert_eq!(table.acquire(holder(2, 20, "t:9,2")), Err(Taken));
            assert_eq!(holds(&table, "t:9"), None, "all or nothing");
            table.release(stays);
            assert_eq!((table.len(), table.holders()), (0, 0));
            assert_eq!(holds(&table, "t:1,2,3"), None);
        }
    }

    #[test]
    fn rows_that_look_alike_do_not_meet() {
        let mut table = LockTable::default();
        table.acquire(holder(1, 10, "t:12,x:y;tt:1")).unwrap();
        for free in ["t:1", "t:2", "t:123", "t:x", "tt:12", "ttt:1", "t:y", ":12"] {
            assert_eq!(holds(&table, free), None, "{free}");
        }
        assert!(table.conflict(None, "jdbc", "t:12").is_none());
        assert!(
            table
                .conflict(Some(1), "jdbc:mysql://h/db", "t:12")
                .is_none()
        );
        assert_eq!(holds(&table, "q:1;t:x:y"), Some(10));
    }

    /// Thousands of rows, with duplicates, in a table that grows, shrinks and moves its slots: against a plain map.
    #[test]
    fn agrees_with_a_plain_map() {
        let mut table = LockTable::default();
        let mut model: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut live: Vec<(i64, i64, Vec<String>, HolderKey)> = Vec::new();
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for branch in 0..4000_i64 {
            if random(100) < 45 && !live.is_empty() {
                let (_, branch, pks, key) = live.swap_remove(random(live.len() as u64) as usize);
                table.release(key);
                for pk in pks {
                    if let Some(holders) = model.get_mut(&pk) {
                        holders.retain(|b| *b != branch);
                    }
                }
                model.retain(|_, holders| !holders.is_empty());
            } else {
                let transaction = random(50) as i64;
                let pks: Vec<_> = (0..1 + random(20))
                    .map(|_| (transaction * 1000 + random(40) as i64 * 5).to_string())
                    .collect();
                let key = format!("t:{}", pks.join(","));
                let held = table.acquire(holder(transaction, branch, &key)).unwrap();
                for pk in &pks {
                    let holders = model.entry(pk.clone()).or_default();
                    if !holders.contains(&branch) {
                        holders.push(branch);
                    }
                }
                live.push((transaction, branch, pks, held));
            }
            assert_eq!(table.len(), model.len());
            if branch % 50 == 0 {
                for (pk, holders) in &model {
                    assert_eq!(holds(&table, &format!("t:{pk}")), Some(holders[0]));
                }
            }
        }
        for (_, _, _, key) in live {
            table.release(key);
        }
        assert_eq!((table.len(), table.holders()), (0, 0));
    }

    /// The same, where the number of rows is what real batches reach (5,000 in one branch).
    #[test]
    fn one_branch_takes_thousands_of_rows() {
        let mut table = LockTable::default();
        let pks: Vec<_> = (0..5000).map(|i| (i % 4990).to_string()).collect();
        let key = table.acquire(holder(1, 1, &format!("t:{}", pks.join(","))));
        assert_eq!(table.len(), 4990);
        assert_eq!(holds(&table, "t:4989"), Some(1));
        table.release(key.unwrap());
        assert_eq!(table.len(), 0);
        assert!(table.nodes.capacity() == 0, "memory is given back");
    }
}
