//! What a row lock costs: taking, giving back and meeting a conflict, and its bytes of memory.
//!
//! `cargo bench --bench lock_table [-- --csv]`. Times are per row. The floor is the same on a `HashMap` from an owned row
//! key (`resource^^^table^^^pk`) to the transaction, as a straightforward table would be.

mod report;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use report::{Table, Times, measure};
use seamio::proto::Text;
use seamio::tc::lock::{Holder, LockTable, parse};
use seamio::xid::BranchId;

fn main() {
    let table = Table::new(&["rows_held", "allocs/row", "bytes/row"]);
    for rows in [1, 10, 1000] {
        take_and_give_back(&table, rows);
    }
    for rows in [1, 1000] {
        conflict(&table, rows);
    }
    fill(&table);
    table.remark(
        "bytes/row: of the table when full, texts of the branch included; times are ns per row",
    );
}

/// Branches of `rows` rows come and go in a table that holds 100,000 others.
fn take_and_give_back(table: &Table, rows: usize) {
    let mut locks = LockTable::default();
    let mut others = HashMap::new();
    for branch in 0..100_000 / 10 {
        let (key, pks) = lock_key(branch, 10);
        locks.acquire(holder(branch, &key)).expect("free");
        others.extend(pks.into_iter().map(|pk| (row_key(&pk), branch)));
    }
    let keys: Vec<_> = (0..64).map(|n| lock_key(1_000_000 + n, rows)).collect();
    let runs = (20_000 / rows).max(1);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let times = measure(200, runs, |run| {
        let n = run % keys.len();
        let key = locks.acquire(holder(1_000_000 + n, &keys[n].0));
        locks.release(key.expect("free"));
    });
    let allocations = ALLOCATED.load(Ordering::Relaxed) - before;
    let floor = measure(200, runs, |run| {
        let n = run % keys.len();
        for pk in &keys[n].1 {
            others.insert(row_key(pk), n);
        }
        for pk in &keys[n].1 {
            others.remove(&row_key(pk));
        }
    });
    let taken = (200 * runs * rows) as f64;
    table.row(
        &format!("take and give back, {rows} rows"),
        &[locks.len() as f64, allocations as f64 / taken, 0.0],
        Some(per_row(times, rows)),
        Some(floor.p50 / rows as f64),
    );
}

/// The last of `rows` rows is taken by somebody else.
fn conflict(table: &Table, rows: usize) {
    let mut locks = LockTable::default();
    let (key, mut pks) = lock_key(1, 1);
    locks.acquire(holder(1, &key)).expect("free");
    let free = lock_key(2, rows - 1).1;
    let held = pks.pop().expect("one");
    let asked: Vec<_> = free.iter().map(String::as_str).chain([&*held]).collect();
    let asked = format!("orders:{}", asked.join(","));
    let map: HashMap<_, _> = [(row_key(&held), 1)].into();
    let runs = (20_000 / rows).max(1);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let times = measure(200, runs, |_| {
        assert!(locks.conflict(Some(2), RESOURCE, &asked).is_some());
    });
    let allocations = ALLOCATED.load(Ordering::Relaxed) - before;
    let floor = measure(200, runs, |_| {
        let rows = parse(&asked).expect("well-formed");
        assert!(
            rows.map(|row| row_key(row.pk))
                .any(|row| map.contains_key(&row))
        );
    });
    table.row(
        &format!("conflict at the last of {rows} rows"),
        &[1.0, allocations as f64 / (200 * runs * rows) as f64, 0.0],
        Some(per_row(times, rows)),
        Some(floor.p50 / rows as f64),
    );
}

/// A million rows in branches of ten: how much memory they take.
fn fill(table: &Table) {
    let before = LIVE.load(Ordering::Relaxed);
    let mut locks = LockTable::default();
    let mut branch = 0;
    let times = measure(100, 1000, |_| {
        branch += 1;
        let (key, _) = lock_key(branch, 10);
        locks.acquire(holder(branch, &key)).expect("free");
    });
    let bytes = LIVE.load(Ordering::Relaxed) - before;
    table.row(
        "fill with branches of 10 rows",
        &[locks.len() as f64, 0.0, bytes as f64 / locks.len() as f64],
        Some(per_row(times, 10)),
        None,
    );
}

fn lock_key(branch: usize, rows: usize) -> (String, Vec<String>) {
    let pks: Vec<_> = (0..rows)
        .map(|row| (branch * 1000 + row).to_string())
        .collect();
    (format!("orders:{}", pks.join(",")), pks)
}

fn row_key(pk: &str) -> String {
    format!("{RESOURCE}^^^orders^^^{pk}")
}

fn holder(branch: usize, lock_key: &str) -> Holder {
    Holder {
        transaction_id: branch as i64,
        branch_id: BranchId(branch as i64),
        since_ms: 0,
        resource_id: Text::from_static(RESOURCE),
        lock_key: Text::from(lock_key),
    }
}

fn per_row(times: Times, rows: usize) -> Times {
    let rows = rows as f64;
    Times {
        p50: times.p50 / rows,
        p99: times.p99 / rows,
        p99_9: times.p99_9 / rows,
    }
}

const RESOURCE: &str = "jdbc:mysql://127.0.0.1:3306/orders";

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
