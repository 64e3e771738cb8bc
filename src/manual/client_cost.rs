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
//! | | statements: plain, AT, least | round trips: plain, AT | allocations: plain, AT | CPU µs: plain, AT | median ms: plain, AT |
//! |---|---|---|---|---|---|
//! | SQLite, SELECT | 1, 1, 1 | – | 21, 31 | 77, 82 | 0.07, 0.08 |
//! | SQLite, UPDATE by key | 1, 4, 4 | – | 20, 186 | 156, 413 | 0.31, 0.68 |
//! | SQLite, UPDATE of 10 rows | 1, 4, 4 | – | 20, 382 | 239, 741 | 0.37, 0.89 |
//! | SQLite, INSERT | 1, 3, 2 | – | 20, 189 | 236, 626 | 0.45, 1.00 |
//! | SQLite, DELETE by key | 1, 3, 3 | – | 20, 150 | 287, 656 | 0.44, 0.95 |
//! | MariaDB, SELECT | 1, 1, 1 | 3, 3 | 53, 63 | 125, 139 | 0.28, 0.30 |
//! | MariaDB, UPDATE by key | 1, 4, 4 | 3, 6 | 32, 249 | 135, 509 | 0.59, 1.52 |
//! | MariaDB, UPDATE of 10 rows | 1, 4, 4 | 3, 6 | 32, 419 | 133, 683 | 0.76, 2.19 |
//! | MariaDB, INSERT | 1, 3, 3 | 3, 5 | 32, 226 | 115, 405 | 0.49, 1.15 |
//! | MariaDB, DELETE by key | 1, 3, 3 | 3, 5 | 32, 201 | 114, 407 | 0.52, 1.20 |
//! | MariaDB, SELECT FOR UPDATE | 1, 2, 2 | 3, 4 | 53, 153 | 153, 356 | 0.29, 0.65 |
//! | PostgreSQL, SELECT | 1, 1, 1 | 3, 3 | 23, 33 | 86, 98 | 0.18, 0.20 |
//! | PostgreSQL, UPDATE by key | 1, 4, 4 | 3, 6 | 21, 201 | 109, 444 | 0.50, 1.22 |
//! | PostgreSQL, UPDATE of 10 rows | 1, 4, 4 | 3, 6 | 21, 435 | 140, 639 | 0.59, 1.75 |
//! | PostgreSQL, INSERT | 1, 3, 2 | 3, 5 | 21, 201 | 119, 409 | 0.53, 1.19 |
//! | PostgreSQL, DELETE by key | 1, 3, 3 | 3, 5 | 21, 157 | 115, 393 | 0.49, 1.10 |
//! | PostgreSQL, SELECT FOR UPDATE | 1, 4, 2 | 3, 6 | 23, 128 | 115, 381 | 0.52, 1.01 |
//!
//! A plain query passes through: reading its text is all that is done. An INSERT on PostgreSQL and SQLite gets its keys with
//! RETURNING and reads the row afterwards, one statement more than the least: what RETURNING gives is not yet what triggers behind
//! the statement make of it. `SELECT … FOR UPDATE` reads the keys beside the rows, and on PostgreSQL sets a savepoint, so that it can
//! let go of the rows while another transaction has them; MySQL and MariaDB keep row locks at a savepoint, so there is none.
//! Undo logs of branches that are committed at the same time are deleted together; the row `phase two` of the benchmark counts it.
//!
//! Images are read by lists of keys whose lengths are powers of two, so that few statements serve all and stay prepared. A statement
//! that is prepared for once costs more than the preparation: MySQL answers nothing when it is closed, sqlx leaves Nagle's
//! algorithm on, and what is sent next waits up to 40 ms for the acknowledgement: an UPDATE of ten rows on MariaDB took 47 ms
//! until its list of keys was kept. Queries of the application that are `persistent(false)` meet it.
//!
//! # Allocations
//!
//! An empty global transaction, begin and commit, takes 10 allocations in the application's process, those of the caller's
//! thread and of the client's together; with more at once fewer, since requests share wake-ups. What is left: the name and the
//! xid, twice each a place for the answer and a wake-up of the client's thread, the handle, and the shared form of a message's text
//! that is kept for another attempt.
//!
//! # Beside the Java clients
//!
//! CPU of the application's process per transaction, with 16 at once, and its memory, by a short run
//! (`benches/client/run --clients 1,16 --rounds 2 --duration 2 --warm-java 5 --settle 2`) on a machine that others used meanwhile: the
//! order of magnitude is sure, the digits are not.
//!
//! | | ours | Java 1.4.2 | Java 2.6.0 |
//! |---|---|---|---|
//! | begin, commit: CPU µs | 25 | 155 | 111 |
//! | one TCC branch: CPU µs | 80 | 656 | 828 |
//! | one AT branch, UPDATE by key on MariaDB: CPU µs | 543 | 4,817 | 12,714 |
//! | memory after it, MiB | 9 | 199 | 329 |
