//! What is kept: tables, the records that change them, and the queue of records on their way to stable storage.
//! The same `apply` changes memory and the durable copy, so replay is what happened.

use crate::machine::{Answer, Bug, Direction, Output, Place, Scenario};

/// Status of a transaction; the twins of retrying are one with their origin here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    #[default]
    Absent,
    Begin,
    Committing,
    Rollbacking,
    TimeoutRollbacking,
    Committed,
    RolledBack,
    TimedOut,
    /// Ended and not remembered: only a known bug does this.
    Forgotten,
}

impl Status {
    /// What was decided, if something was.
    pub(crate) fn direction(self) -> Option<Direction> {
        match self {
            Self::Absent | Self::Begin | Self::Forgotten => None,
            Self::Committing | Self::Committed => Some(Direction::Commit),
            Self::Rollbacking | Self::RolledBack => Some(Direction::Rollback),
            Self::TimeoutRollbacking | Self::TimedOut => Some(Direction::Timeout),
        }
    }

    /// Branches are to be called.
    pub(crate) fn is_driven(self) -> bool {
        matches!(
            self,
            Self::Committing | Self::Rollbacking | Self::TimeoutRollbacking
        )
    }

    /// Only the tombstone is left.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Committed | Self::RolledBack | Self::TimedOut)
    }

    /// What an application is told of it.
    pub(crate) fn answer(self) -> Answer {
        match self.direction() {
            None => Answer::Unknown,
            Some(Direction::Commit) => Answer::Committed,
            Some(Direction::Rollback) => Answer::RolledBack,
            Some(Direction::Timeout) => Answer::TimedOut,
        }
    }

    fn ended(self) -> Self {
        match self {
            Self::Committing => Self::Committed,
            Self::Rollbacking => Self::RolledBack,
            Self::TimeoutRollbacking => Self::TimedOut,
            other => other,
        }
    }
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Begin(u8),
    Register(u8, Place),
    Decide(u8, Direction),
    Release(u8),
    EndBranch(u8, Place),
    Forget(u8),
}

/// The state that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tables {
    status: [Status; 2],
    live: u8,
    /// When each branch was registered, counted from 1.
    order: [u8; 3],
    owner: [u8; 3],
    at: u8,
    /// Branches that hold row 0 of their resource.
    pub(crate) locks: u8,
}

impl Tables {
    /// The status of a transaction.
    pub(crate) fn status(&self, xid: u8) -> Status {
        self.status[xid as usize]
    }

    /// Whether a branch is registered and not ended.
    pub(crate) fn is_live(&self, branch: u8) -> bool {
        self.live & 1 << branch != 0
    }

    /// When a branch was registered; 0: never.
    pub(crate) fn order(&self, branch: u8) -> u8 {
        self.order[branch as usize]
    }

    /// Carries out one change.
    pub(crate) fn apply(&mut self, write: Write, bug: Bug) {
        match write {
            Write::Begin(xid) => self.status[xid as usize] = Status::Begin,
            Write::Register(branch, place) => {
                let last = self.order.iter().max().copied().unwrap_or(0);
                self.live |= 1 << branch;
                self.order[branch as usize] = last + 1;
                self.owner[branch as usize] = place.xid;
                if place.at {
                    self.at |= 1 << branch;
                    self.locks |= 1 << branch;
                }
            }
            Write::Decide(xid, way) => {
                self.status[xid as usize] = match way {
                    Direction::Commit => Status::Committing,
                    Direction::Rollback => Status::Rollbacking,
                    Direction::Timeout => Status::TimeoutRollbacking,
                };
                if way == Direction::Commit && bug != Bug::CommitKeepsLocks {
                    self.locks &= !self.branches_of(xid);
                }
                self.end_when_empty(xid);
            }
            Write::Release(xid) => self.locks &= !self.branches_of(xid),
            Write::EndBranch(branch, place) => {
                self.live &= !(1 << branch);
                if bug != Bug::CommitKeepsLocks {
                    self.locks &= !(1 << branch);
                }
                self.end_when_empty(place.xid);
            }
            Write::Forget(xid) => self.status[xid as usize] = Status::Forgotten,
        }
    }

    /// Invariants 8, 10 and 11: the locks are those of the live branches of transactions that need them.
    pub(crate) fn violation(&self, scenario: &Scenario) -> Option<(u8, String)> {
        let count = scenario.branches.len();
        for a in (0..count).filter(|b| self.locks & 1 << b != 0) {
            for b in (a + 1..count).filter(|b| self.locks & 1 << b != 0) {
                let (one, two) = (scenario.branches[a], scenario.branches[b]);
                if one.resource == two.resource && one.xid != two.xid {
                    return Some((8, format!("branches {a} and {b} hold one row")));
                }
            }
        }
        for branch in 0..count {
            let status = self.status(scenario.branches[branch].xid);
            let committed = status.direction() == Some(Direction::Commit);
            let needed = self.live & self.at & 1 << branch != 0 && !committed;
            let held = self.locks & 1 << branch != 0;
            if needed && !held {
                return Some((
                    10,
                    format!("branch {branch} lost its lock while {status:?}"),
                ));
            }
            if held && !needed {
                return Some((
                    11,
                    format!("branch {branch} keeps its lock while {status:?}"),
                ));
            }
        }
        None
    }

    fn branches_of(&self, xid: u8) -> u8 {
        (0..3)
            .filter(|b| self.order[*b] != 0 && self.owner[*b] == xid)
            .fold(0, |m, b| m | 1 << b)
    }

    fn end_when_empty(&mut self, xid: u8) {
        if self.live & self.branches_of(xid) == 0 {
            self.status[xid as usize] = self.status[xid as usize].ended();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Entry {
    Record(Write),
    Output(Output),
}

/// Records on their way to stable storage, with the outputs that wait behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Queue(Vec<Entry>);

impl Queue {
    /// Records not durable yet.
    pub(crate) fn records(&self) -> usize {
        self.0
            .iter()
            .filter(|entry| matches!(entry, Entry::Record(_)))
            .count()
    }

    /// A record follows.
    pub(crate) fn push_record(&mut self, write: Write) {
        self.0.push(Entry::Record(write));
    }

    /// An output that waits for every record before it.
    pub(crate) fn push_output(&mut self, output: Output) {
        self.0.push(Entry::Output(output));
    }

    /// The oldest record becomes durable.
    pub(crate) fn pop_record(&mut self) -> Write {
        match self.0.remove(0) {
            Entry::Record(write) => write,
            Entry::Output(_) => unreachable!("ripe outputs leave when they become ripe"),
        }
    }

    /// The next output that waits for nothing.
    pub(crate) fn pop_ripe(&mut self) -> Option<Output> {
        match self.0.first() {
            Some(Entry::Output(output)) => {
                let output = *output;
                self.0.remove(0);
                Some(output)
            }
            _ => None,
        }
    }

    /// Outputs whose connection is gone.
    pub(crate) fn drop_outputs(&mut self, gone: impl Fn(&Output) -> bool) {
        self.0
            .retain(|entry| !matches!(entry, Entry::Output(output) if gone(output)));
    }

    /// Whether an output waits.
    pub(crate) fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.0
            .iter()
            .any(|entry| matches!(entry, Entry::Output(output) if wanted(output)))
    }
}
