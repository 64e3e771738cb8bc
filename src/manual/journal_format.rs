//! The journal on disk, format 1: enough to write a reader in another language.
//!
//! A journal is a directory. Integers are unsigned and little-endian unless it says otherwise; `i64` and `i32` are two's
//! complement. CRC is CRC-32C (Castagnoli, reflected, initial and final value all ones), as in iSCSI. Times are
//! milliseconds since 1970-01-01T00:00:00Z. `seamio journal inspect DIR` prints all that is described here.
//!
//! # Files
//!
//! | name | what it is |
//! |---|---|
//! | `lock` | empty; locked by the process that owns the journal |
//! | `NNNNNNNNNNNNNNNNNNNN.segment` | a segment of the log; the number (20 decimal digits) is its id. Later ones have higher ids, not always the next |
//! | `NNNNNNNNNNNNNNNNNNNN.snapshot` | the state after the record with this number |
//! | `*.tmp` | being made when the process ended; to be ignored. The next start removes it |
//!
//! Other names mean nothing. Of several snapshots only the one with the highest number counts.
//!
//! # The head of a file
//!
//! Every segment and snapshot begins with 64 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic: `SEAMIOJ\n` for a segment, `SEAMIOP\n` for a snapshot |
//! | 8 | 4 | format version, 1. A reader refuses a higher one |
//! | 12 | 4 | CRC over bytes 0 to 11 and then 16 to 63 |
//! | 16 | 8 | journal id: the same in every file of a journal, chosen when it is made |
//! | 24 | 40 | segment: id (8), bytes of the file (8), 24 zeros. Snapshot: number of the last record it contains (8), highest id ever given out (8, `i64`), number of items (8), bytes of the file (8), 8 zeros |
//!
//! In a segment frames begin at offset 4096, in a snapshot at offset 64.
//!
//! # Frames
//!
//! A frame is what was written, and is checked, as a whole. Frames follow each other without gaps and begin at multiples
//! of 8; up to 7 bytes of any value fill the space between two.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | CRC, see below |
//! | 4 | 4 | L: bytes of records behind this head |
//! | 8 | 8 | number of the first record in it. Records are numbered from 1, items of a snapshot too |
//! | 16 | 4 | how many records. 0 (with L = 0) is the mark of an orderly stop; the first number is then that of the record to come |
//! | 20 | 4 | zero |
//! | 24 | 8 | segment: every record up to this number was on stable storage before the frame was written. Snapshot: zero |
//! | 32 | L | the records |
//!
//! The CRC is over the journal id (8 bytes), the file's id (8 bytes: the segment's id; for a snapshot the number in its
//! head with all bits inverted), and then the frame from offset 4 to its last record. So a frame counts only in the file,
//! and in the use of that file, that it was written for. Segments are used again under a new id: what is left of their
//! earlier use stays in them and is never a frame.
//!
//! The field at 24 is less than the field at 8 in every frame.
//!
//! # Where the log ends, and what is damage
//!
//! Read the segments in the order of their ids. In each, frames follow until there is none with a right CRC. The numbers
//! of the records go on from frame to frame and from segment to segment. While the snapshot covers everything before a
//! segment, its first frame may begin with any number up to the one after the snapshot's (1 without a snapshot).
//! Segments without frames are spare ones.
//!
//! Where the frames of a segment stop, the log may simply end; the last write may have been torn, in any order of its
//! 512-byte sectors, and was then never acknowledged. It is damage, and a reader must stop, when
//!
//! - a frame with a right CRC follows anywhere behind (at a multiple of 8) whose field at 24 says that the record which
//!   should come next had been on stable storage;
//! - a number does not go on, within a segment or, behind the snapshot, from one to the next;
//! - a record in a frame with a right CRC cannot be read, or does not fit the state;
//! - a head or anything in the newest snapshot is wrong: snapshots are synced before they get their name.
//!
//! Behind the end of a segment lies what clients sent during its earlier use, and they may have made it look like heads of
//! long frames. A reader that sums each of those anew takes quadratic time; CRCs are linear, so the one of any part follows
//! from two that were kept on the way.
//!
//! A writer that goes on behind a torn write first overwrites the heads of the frames with a right CRC that follow the
//! end, and syncs. One kind of damage cannot be told from a torn write: damage to the very last frame of a journal whose
//! process did not stop in order.
//!
//! A file that is shorter than its head says is read as if zeros followed.
//!
//! # Records
//!
//! A record is its length (4 bytes, what follows), a kind (1 byte) and the fields of that kind, with nothing behind them.
//! *Text* is a length in bytes (4) and UTF-8. *Id* is `i64`: *transaction* is the number behind the last colon of an xid,
//! *branch* a branch id. Statuses and branch types are Seata's numbers, in one byte.
//!
//! | kind | in a segment: what changed | fields |
//! |---|---|---|
//! | 1 | a transaction began | xid (text), application (text), transaction service group (text), name (text), timeout in ms (`i32`), begin time (`i64`) |
//! | 2 | a branch was registered, with its locks | transaction, branch, branch type (1), resource (text), client (text), application data (text), lock key (text, empty unless it locks), time (`i64`) |
//! | 3 | phase one was reported | transaction, branch, branch status (1), application data (text; blank keeps what is there) |
//! | 4 | the status changed | transaction, global status (1), time of the decision (`i64`), 1 when every row of the transaction is freed with it, else 0 (1) |
//! | 5 | a branch is done: it and its locks go | transaction, branch |
//! | 6 | the transaction ended: it, its branches and locks go, a tombstone stays | transaction, end (1), time of the decision (`i64`), time of the end (`i64`), how many of the oldest tombstones go to make room (4) |
//! | 7 | every row of a transaction was freed | transaction |
//! | 8 | tombstones that ended before a time went | time (`i64`) |
//!
//! *End*: 0 committed, 1 rolled back, 2 timed out, 3 finished. The oldest tombstone is the one with the least time of its
//! end, then the least transaction id.
//!
//! | kind | item of a snapshot | fields |
//! |---|---|---|
//! | 32 | a live transaction; its branches follow as items of their own, in the order of registration | as kind 1, then global status (1), time of the decision (`i64`, 0 before it), flags (1): 1 is a SAGA, 2 has had a branch; number of branches (4) |
//! | 33 | a branch | branch, branch type (1), branch status (1), resource (text), client (text), application data (text), lock key (text), time (`i64`), 1 when it holds its rows, else 0 (1) |
//! | 34 | a tombstone | xid (text), end (1), time of the decision (`i64`), time of the end (`i64`) |
//!
//! Transactions come in the order of their ids, then tombstones from the oldest on. A transaction is a SAGA when its first
//! branch is (type 2), or, while it has had none, when its name begins with `$Saga_`.
//!
//! # What syncs guarantee
//!
//! A segment is filled with zeros (or holds an earlier use), synced and named before it is written to, so a sync changes
//! no metadata. It is written from its first frame to its last, one write and one `fdatasync` at a time; a record is
//! acknowledged when the sync that covers it has returned without an error. Names are safe before they are relied on: the
//! directory is synced after each. It is assumed that a sector that is written again keeps those of its bytes that do not
//! change, whatever happens during the write.
