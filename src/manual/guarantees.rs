//! What the coordinator promises, and what it does not.
//!
//! # Told is kept
//!
//! With the journal, nothing is answered before what the answer tells is on stable storage: the record is written and
//! synced, then the reply leaves. This holds for the id of a begin, the id of a branch and its row locks, a decision, and
//! for the calls of phase two that follow from it. After `kill -9` or a loss of power the next start finds all of it.
//! There is no timer that delays a sync: the next one starts when the last one ended and takes everything that waits.
//!
//! A sync that fails is final. The process stops with exit code 4 and answers nothing any more, since nobody can say
//! what the disk holds after a failed sync; the next start reads it.
//!
//! With `--store memory` nothing survives the process. It is for tests.
//!
//! # One decision
//!
//! Commit, rollback, time-out and the registration of branches of one transaction are decided one after the other, by one
//! owner. The first decision stands; whoever comes later is told it. A branch is registered before the decision, and
//! then called, or it is refused. A commit frees the row locks with the decision; a rollback keeps each until its branch
//! is undone.
//!
//! A transaction that nobody decides is rolled back when its time is over.
//!
//! # Phase two
//!
//! Every branch is called at least once, in the decided direction and never in the other one, by a connection that
//! registered as resource manager for its resource. A call may be repeated after a broken connection, a time-out or a
//! restart, so resource managers must be idempotent, as Seata's are. Branches on the same resource are rolled back in the
//! reverse order of registration. A branch that cannot be reached is tried again, with pauses that grow to
//! `server.retry-pause-max`, and at once when a resource manager for it connects. It delays nobody else.
//!
//! What a resource manager calls unretryable stays visible: `CommitFailed` or `RollbackFailed`, with the row locks kept
//! for a rollback, until a person decides.
//!
//! # Several coordinators
//!
//! On a store that several coordinators share, the promises above hold for all of them together. Any of them serves any
//! request: begin at one, register branches at another, commit at a third. The store decides the requests of one
//! transaction one after the other.
//!
//! Phase two of a transaction has one driver at a time, the coordinator that decided it. It calls branches only while
//! its lease in the store lasts. When it dies, stands still or loses the store for longer than that, another one takes
//! over all it had, with the deadlines of what is undecided. When it comes back it forgets what it drove and goes on
//! with new ids. A call that left just before the lease ended may arrive late, so a branch may be called by both, in the
//! same direction.
//!
//! Let resource managers connect to every coordinator, as Seata's clients do. Where one is connected to some of them
//! only, a driver that cannot reach it does everything else first and then lets another coordinator drive on. Whoever
//! waits for the outcome is told by then that a branch could not be reached. How long an XA client has been gone is
//! known only to the coordinator that it was connected to: another one counts from when it heard of the decision, and
//! lets those that have the client go first.
//!
//! # After the end
//!
//! An ended transaction is remembered for `server.tombstone-life`, at most `server.tombstones-max` of them: a repeated
//! commit or rollback is told what happened, not that the transaction is unknown. The times and the numbers do not
//! depend on the wall clock while the process runs; ids are not used again after the clock was set back.
//!
//! # What is not promised
//!
//! - The state is on one machine, with a journal. When its disk is gone, so are its undecided transactions. A database
//!   keeps it as safe as that is kept.
//! - A disk that reports a sync it did not make breaks the first promise.
//! - A client that loses its connection in a call does not know the outcome until it asks again, and row locks are held
//!   meanwhile.
//! - The protocol has no encryption and no authentication here; listen on networks that you trust.
