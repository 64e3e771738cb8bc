//! Running the coordinator.
//!
//! # Start and stop
//!
//! `seamio serve` listens on port 8091 and keeps its journal in `./data`. It prints every limit to standard error and,
//! when it accepts connections, one line with `listening on` and the address to standard output. `seamio config` lists
//! every key with its default, its environment variable and its meaning; keys come from flags, then the environment
//! (`SEAMIO_…`, then the variables of Seata's images), then the file of `--config`, then the default. A key or value that
//! is wrong stops the start with exit code 2 and a line that names the file, the line and the key.
//!
//! `SIGTERM` and `SIGINT` drain: begins are refused with a code that clients may retry, what is in flight is finished
//! within `transport.shutdown.wait`, connections are closed. A second signal does not wait, unless it comes within
//! 200 ms of the first, as from `timeout`, which tells a process twice.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | stopped, nothing undecided is left |
//! | 1 | a check failed (`bench`, `journal verify`) |
//! | 2 | wrong usage or configuration |
//! | 3 | stopped with undecided transactions left; all of them are in the journal |
//! | 4 | the store failed, or could not be opened |
//!
//! # The address in an xid
//!
//! Clients send commit and rollback to the address inside an xid, so it must be one that they can reach. It is what
//! `--advertise HOST:PORT` says; without it, the address listened on, or the primary address of this machine. In a
//! container or behind address translation, say it.
//!
//! # The journal
//!
//! One process owns a directory. `seamio journal inspect DIR` shows what it holds, `seamio journal verify DIR` checks it
//! and ends with 1 and the offset of damage; both only read, and want the coordinator stopped. Segments are pre-allocated
//! and used again, so the directory does not grow with the number of transactions; see
//! [`journal_format`](super::journal_format).
//!
//! A torn end of the last write is cut: nothing in it was told to anybody. Damage before that refuses the start, since
//! what comes behind it was told. Restore the directory from where it is whole; to go on without the damaged part is a
//! loss, and only a person can decide that.
//!
//! When the disk is full, begins are refused, and decisions are still recorded in the space that was allocated ahead.
//!
//! # From a Java coordinator
//!
//! Client settings stay as they are. Stop the Java coordinator when it has no live transaction (its file store is not
//! read), start `seamio serve` on the same address. Java's `-h`, `-p`, `-m` and `-n`, the variables of its images and the keys of
//! its configuration that matter to a coordinator are accepted; the others are named in a warning. `-m redis` and `raft` are
//! refused; `-m db` and its keys lead to the same database, see [`sql_store`](super::sql_store).
