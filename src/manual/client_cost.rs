//! What the client costs its application: statements and round trips of AT, allocations, CPU beside Java's.
//!
//! | what | measured by |
//! |---|---|
//! | a statement in AT mode against the same statement without | `cargo bench --all-features --bench at_overhead` |
//! | allocations per global transaction, and who asks for them | `cargo bench --all-features --bench client_allocations [-- --where 3]` |
//! | CPU, memory and time per transaction beside the Java clients | `benches/client/run` |
//!
//! Counts say what they say on any machine; times and CPU here are of two shared cores, and the databases sync as they do by default.
//!
//! # A statement in AT mode
//!
//! Per local transaction with one statement. *Least* is what AT has to send: an image before the statement, the statement, an
//! image behind it, the undo log. Round trips are those to the database with BEGIN and COMMIT; each branch adds one request to
//! the coordinator.
//!
//! (at)
//!
//! A plain query passes through: reading its text is all that is done. An INSERT on PostgreSQL and SQLite gets its keys with
//! RETURNING and reads the row afterwards, one statement more than the least: what RETURNING gives is not yet what triggers behind
//! the statement make of it. `SELECT … FOR UPDATE` reads the keys beside the rows, and on PostgreSQL sets a savepoint, so that it can
//! let go of the rows while another transaction has them; MySQL and MariaDB keep row locks at a savepoint, so there is none.
//! A committed branch costs the database @PHASE2@ of a statement later, since the undo logs of many are deleted together.
//!
//! Images are read by lists of keys whose lengths are powers of two, so that few statements serve all and stay prepared. A statement
//! that is prepared for once costs more than the preparation: MySQL answers nothing when it is closed, sqlx leaves Nagle's
//! algorithm on, and what is sent next waits up to 40 ms for the acknowledgement. That was seen here: an UPDATE of ten rows on
//! MariaDB took 47 ms before, and takes @TEN@ now. Queries of the application that are `persistent(false)` still meet it.
//!
//! # Allocations
//!
//! An empty global transaction, begin and commit, takes @ALLOCS@ allocations in the application's process, those of the caller's
//! thread and of the client's together; with more at once fewer, since requests share wake-ups. What is left: the name and the
//! xid, twice each a place for the answer and a wake-up of the client's thread, the handle, and the shared form of a message's text
//! that is kept for another attempt.
//!
//! # Beside the Java clients
//!
//! (run)
