//! The store on a database: its tables, its keys, and what is checked at start.
//!
//! `seamio serve --store mysql://USER:PASSWORD@HOST:PORT/DATABASE` keeps transactions in a database, and so does
//! `store.mode` in the file. Several coordinators may be given the same database; each serves every transaction in it.
//!
//! | database | from | |
//! |---|---|---|
//! | MySQL | 8.0.17 | `mysql://` |
//! | MariaDB | 10.6 | `mysql://` or `mariadb://` |
//! | PostgreSQL | 14 | `postgres://` or `postgresql://` |
//! | SQLite | | `sqlite://FILE`, for one coordinator |
//!
//! The URL leads to the primary server, directly: a proxy that sends reading statements elsewhere would show decisions that
//! are out of date. Characters of a password that divide URLs are written as `%` and two digits. The password is never
//! shown or logged; a process list shows a flag as it was given, so put it into the file or into `SEAMIO_STORE`.
//!
//! # Making the tables
//!
//! `seamio schema print mysql` (or `postgres`, `sqlite`, or a URL) writes the definitions to standard output and connects to
//! nothing. `seamio schema apply URL` makes what is missing and writes one line for each table:
//!
//! ```text
//! global_table: nothing to do
//! lock_table: column status added, index idx_xid added
//! seamio_node: made
//! ```
//!
//! It makes tables, columns that may be empty or have a default, indexes, and the first rows of `distributed_lock`. It never
//! narrows, drops or rewrites anything, and a table that is something else under the same name is left alone. It may be
//! run again, by two at once, and beside coordinators that work; adding an index keeps PostgreSQL from writing to the table
//! meanwhile. It needs the right to create and alter tables; the coordinator needs SELECT, INSERT, UPDATE and DELETE.
//!
//! What it cannot change goes to standard error, one sentence for each.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | a coordinator can work with the tables |
//! | 1 | something is left that only a person can change |
//! | 2 | wrong usage |
//! | 4 | the database cannot be reached, or refused a statement |
//!
//! # Seata's tables
//!
//! The names and the meanings are Java Seata's, so a Java coordinator can use them too. Where seamio makes them, texts are
//! wider than in Seata's scripts, which are too narrow for what clients send: the name of an application has 32 characters
//! there, and the key of a locked row, which holds a whole JDBC URL, 128.
//!
//! | table | a row is | columns |
//! |---|---|---|
//! | `global_table` | a live global transaction | `xid`, `transaction_id`, `status`, `application_id`, `transaction_service_group`, `transaction_name`, `timeout` (ms), `begin_time` (ms since 1970), `application_data`, `gmt_create`, `gmt_modified` |
//! | `branch_table` | one of its branches | `branch_id`, `xid`, `transaction_id`, `resource_group_id`, `resource_id`, `branch_type`, `status`, `client_id`, `application_data`, `gmt_create`, `gmt_modified` |
//! | `lock_table` | a locked row | `row_key` (`resource^^^table^^^primary key`), `xid`, `transaction_id`, `branch_id`, `resource_id`, `table_name`, `pk`, `status` (1: being rolled back), `gmt_create`, `gmt_modified` |
//! | `distributed_lock` | a loop that one coordinator runs at a time | `lock_key`, `lock_value` (who), `expire` (ms since 1970) |
//! | `vgroup_table` | a group and its cluster, for Seata's naming server; seamio does not use it | `vGroup`, `namespace`, `cluster` |
//!
//! A text that is longer than its column is refused with a clear code and never cut, but for the name of a transaction,
//! which Java cuts too and on which nothing depends. The widths are read at start.
//!
//! # The tables beside them
//!
//! | table | a row is | columns |
//! |---|---|---|
//! | `seamio_node` | a coordinator | `node_id`, `token` (who holds the node), `address`, `lease_until` (ms, by the clock of the database), `ids_until` (until then ids may have been made) |
//! | `seamio_writer` | a connection that writes | `node_id`, `writer`, `batch` (the last one that was committed) |
//! | `seamio_decision` | a decided transaction that has not ended | `xid`, `transaction_id`, `decided_ms`, `saga`, `driver` (the node that drives it; empty: offered), `wanted` (the resource it needs then) |
//! | `seamio_ended` | a transaction that has ended | `xid`, `transaction_id`, `outcome`, `decided_ms`, `ended_ms` |
//! | `seamio_share` | a further branch that listed a row which its transaction holds already | `row_key`, `branch_id`, `xid` |
//!
//! Java coordinators do not look at them.
//!
//! # What is checked at start
//!
//! Any of these stops the start with exit code 4 and a sentence that says what, where and what to do:
//!
//! - the server is too old, or takes no writes: `read_only`, `super_read_only`, `innodb_read_only`,
//!   `default_transaction_read_only`, a standby;
//! - a Java coordinator before 2.0 is at work on the tables and answers ([`migrating`](super::migrating));
//! - a table or a column is missing (`lock_table.status` in the schema of Seata 1.4 and earlier), has a type that cannot hold
//!   its values, or a column that seamio does not know has to be filled;
//! - a table has no key that tells its rows apart, an engine without transactions (MyISAM), is unlogged, a view or a foreign
//!   table, or may not be written;
//! - keys of our own tables compare by a collation that joins different ones.
//!
//! These are warnings in the log:
//!
//! - `lock_table.row_key` compares without regard to case or to blanks at the end, as Seata's scripts for MySQL make it.
//!   Rows whose keys differ only so are then one lock, as with Java: two transactions may wait for each other without need,
//!   and none is let through that should not be. The tables that seamio makes compare all characters;
//! - columns are narrower than the texts that clients may send, or take fewer characters (`utf8` of MySQL has none of four
//!   bytes);
//! - an index is missing;
//! - the server may lose what it has committed: `innodb_flush_log_at_trx_commit` other than 1, `fsync` or
//!   `full_page_writes` off.
//!
//! # Keys
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `store.sql.connections` | 2 | connections that write, each with a thread; one more keeps the lease |
//! | `store.sql.batch-max` | 256 | operations in one database transaction |
//! | `store.sql.statement-timeout` | 10 s | longest round trip, and longest wait for a new connection |
//! | `store.sql.retry-for` | 20 s | how long a decision is tried again while the database is away |
//! | `store.sql.lease` | 9 s | how long after its last sign of life a coordinator counts as dead |
//! | `store.sql.java` | `beside` | whether Java coordinators use the tables: `none`, or `beside` (from 2.0 on; an older one that answers is refused either way) |
//!
//! Seata's own keys lead to the same store: with `store.mode = db`, the database is that of `store.db.url`, a JDBC URL of
//! MySQL, MariaDB or PostgreSQL, with `store.db.user` and `store.db.password`. Of its parameters those about the user, the
//! schema (`currentSchema`) and encryption (`useSSL`, `requireSSL`, `ssl`, `sslMode`) count; the others are settings of the
//! JDBC driver, and named in a warning. Refused, each with a sentence: a list of servers, an encrypted password
//! (`store.publicKey`), and tables under other names than Java's defaults.
//!
//! # What can be relied on
//!
//! | what | how |
//! |---|---|
//! | One decision, in one order | The row of the transaction in `global_table` is locked (`FOR UPDATE`) while anything about it is decided, and its status is changed only from the one that was read, in the same database transaction that registers a branch, takes its locks or frees them. |
//! | Locks, all or none | A lock is a row with the key of the locked row as primary key. Of two transactions that take it at once, one gets a duplicate key, starts over, and then names the holder. |
//! | Isolation | READ COMMITTED, set for each session: rows are locked, gaps are not. Rows are locked and inserted in the order of their keys. |
//! | Dead-locks, lock waits (5 s), keys that a sibling inserted just now | The batch starts over from reading, 8 times at once, then each operation alone, for `store.sql.retry-for`. No client is told. |
//! | A connection lost before the commit was sent | Nothing happened; the batch starts over on another connection. |
//! | A connection lost behind it | `seamio_writer` is asked: its row is written with the batch, so it tells whether the batch was committed. While the database cannot say, nobody is answered; after `store.sql.retry-for` the client's connection is closed, which is no answer either way. |
//! | No database at start | It is waited for, 60 s; a name or password that is refused ends the start at once, with exit code 4. |
//! | Too few connections for the user at start | They are waited for, 60 s; then the start ends with exit code 4 and says how many it got and how many it needs. |
//! | All connections taken by others later | As no database: begins are refused, decisions wait. |
//! | No database later | Begins and lock queries are refused at once with a code that clients retry. Decisions, registrations and reports are tried again for `store.sql.retry-for`. Heartbeats go on, transactions keep their locks, and everything resumes by itself. |
//! | Restart, failover | A read-only server, as a primary is that was demoted, counts as away: the store connects again to the address of its URL. |
//!
//! # Several coordinators
//!
//! A coordinator claims a node, 0 to 1023, whose number stands in the ids that it makes: the one of `--server-node`, or the one that
//! its address had before, or a free one. The node of a coordinator that is alive is refused to another address. It renews its lease
//! every second (with the default lease), and calls no branch without one.
//!
//! | what | who |
//! |---|---|
//! | decides | whichever coordinator a client asks; the database lets one after the other |
//! | drives phase two | the one that decided, as `seamio_decision.driver` says |
//! | drives what a dead one drove | who first claims it once the lease is over, by the clock of the database; what the dead one comes back to is no longer its own, and it forgets it |
//! | times an undecided transaction out | the one that began it; 2 s later, whoever sees it |
//! | drives what needs an RM that is connected elsewhere only | the driver offers it, a coordinator with such an RM takes it |
//! | keeps transactions from beginning | a Java coordinator before 2.0, from when something of it is in the tables until it is stopped ([`migrating`](super::migrating)) |
//! | finishes what a Java coordinator decided | that one; after 5 s without a change (20 s while it may be answering a client) a seamio coordinator |
//!
//! SIGTERM gives the lease back, so siblings need not wait for its end.
//!
//! # What it costs
//!
//! A batch is one database transaction. Begins alone take one round trip; everything else takes two, one that reads and locks, one
//! that writes and commits; asking alone takes one and commits nothing. What waits while a batch is under way becomes the next one, so
//! that under load a batch carries the operations of many transactions: with 64 clients a transaction with one AT branch costs 1.4
//! statements and 0.11 commits, where a Java coordinator takes 16 and 9 (`benches/sql/run`, all figures in
//! `benches/sql/result/table.md`), and four times as many go through. A client that is alone pays for its batches itself: 23
//! statements and 3.1 commits, in about the time that a Java coordinator takes; with a TCC branch 31 and 4, which is slower than
//! Java's 9 and 6: each batch reads the rows of its transactions under lock before it decides, four small statements, where
//! Java's writes compare nothing or the status alone.
//!
//! The end of a transaction whose commit was answered, and whose rows are free, is kept back for up to 100 ms, or until a batch of
//! eight or more takes it along.
//!
//! Beside that the keeper asks once a second, in one round trip.
