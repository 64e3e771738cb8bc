//! Moving a Java Seata installation to seamio, while it works, and back.
//!
//! In `file` mode a Java coordinator keeps its state in a format of its own: let its transactions end, stop it, start
//! `seamio serve`, and point the clients at it. The rest of this page is about `db` mode, where seamio takes the tables over as
//! they are. Clients stay unchanged; they need the addresses of the new coordinators in their group list or registry.
//!
//! Each step below is played with real Java coordinators and real clients by `tests/interop/shared/run`.
//!
//! # From 2.0 and later: side by side
//!
//! 1. `seamio schema apply URL` on the live database. It adds what is missing and changes nothing that is there.
//! 2. `seamio serve --store URL --advertise HOST:PORT`, as many as wanted. Add their addresses to the clients' list.
//!    From now on any coordinator serves any transaction: begun at one, decided at the other, locked against each other.
//! 3. Stop the Java coordinators, one after the other, and take their addresses out of the list.
//! 4. When none is left and none will come back, set `store.sql.java = none`: what a dead coordinator left is then taken
//!    over at once.
//!
//! What a Java coordinator decided and did not finish is left to it for 5 s, or for 20 s when it may be at work on it in a
//! client's request (Committing, Rollbacking); then a seamio coordinator claims it. Should both be at it, a branch may be
//! called twice, in the same direction, as Seata's clients have to expect anyway. What ran out of time undecided is rolled
//! back by whoever sees it first.
//!
//! # From versions before 2.0: one after the other
//!
//! Their updates do not compare the status, so one of them may commit what another coordinator rolls back
//! (its own kind too). Never run one beside seamio. It is refused where it shows: seamio asks whoever's address stands in the
//! tables (in the xid of a transaction, or as the owner of a loop in `distributed_lock`) for its version, with the registration of a
//! client, of which a Java coordinator may write a line.
//!
//! | one before 2.0 answers | seamio |
//! |---|---|
//! | at the start | does not start (exit code 4) and says which one it is, whatever `store.sql.java` says |
//! | later | refuses begins, as when the database is away, and takes nothing over from Java; what has begun goes on. The log says `event=java_too_old`, and `event=begins_accepted` when it has been silent twice, some seconds after its end |
//!
//! What cannot be seen: one of 1.4 or earlier that has no transaction in the tables, and one that cannot be reached from here at
//! the address in its xids. Where nobody answers nobody is taken to be.
//!
//! 1. Stop all of them. Transactions stay in the tables.
//! 2. `seamio schema apply URL`: adds `lock_table.status`, the indexes and the tables that came later.
//! 3. `seamio serve --store URL`. What was undecided goes on, with its locks and its deadline; what was decided is finished.
//!
//! # Back
//!
//! Stop seamio with SIGTERM, start the Java coordinators on the same database (beside it, if they are 2.0 or later). They
//! find every transaction in their own tables: an undecided one with its locks, a decided one in a status that their
//! loops carry on. The tables whose names begin with `seamio_` can be dropped when no seamio coordinator will return.
//!
//! What they do not find: how transactions ended that are over already. To a repeated commit or rollback of one they answer
//! `Finished`, as always.
//!
//! # What to know
//!
//! | | |
//! |---|---|
//! | Clocks | Deadlines are compared with the clock of the coordinator that asks, as in Java: keep clocks together (a difference of more than 2 s is told in the log). Leases count by the database's clock alone. |
//! | Time zones | `gmt_` columns are written in the session's zone, which for MySQL is the server's. A Java coordinator whose driver sets another one orders the branches of a transaction that it shares with seamio wrongly; set `connectionTimeZone` (or `serverTimezone`) to the server's. |
//! | Widths | Texts that Java's columns cannot hold are refused, never cut: a row key above 128 characters, for example. Widen the columns; both kinds of coordinator use what is there. |
//! | Case | Seata's scripts for MySQL make `lock_table.row_key` compare without case: rows that differ in case only are one lock, as with Java. |
//! | A branch behind the end | A Java coordinator's registration is not one step with the decision. A branch that it adds behind the end is found within seconds, told which way the transaction went, and its locks are freed. |
