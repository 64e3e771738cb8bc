//! Records: changes and snapshot items as bytes. The layout is in [`manual::journal_format`](crate::manual::journal_format).
//!
//! Every record is a `u32` length, a kind byte and fields; integers are little-endian, text is a `u32` length and UTF-8.
//! Reading checks everything and never panics, whatever the bytes.

use bytes::Bytes;

use super::super::change::Change;
use super::super::state::{GlobalEntry, KeptBranch};
use super::super::{Branch, End, Global, NewGlobal, Tombstone};
use crate::proto::Text;
use crate::proto::status::{BranchStatus, BranchType, GlobalStatus};
use crate::xid::{BranchId, Xid};

/// A record as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// In a segment.
    Change(Change),
    /// In a snapshot: a live transaction; its branches follow as items of their own.
    Global {
        global: Global,
        settled: bool,
        branches: u32,
    },
    /// In a snapshot: a branch of the last transaction.
    Branch(KeptBranch),
    /// In a snapshot: a transaction that ended.
    Tombstone { xid: Xid, tombstone: Tombstone },
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// Appends a change.
pub(crate) fn encode_change(change: &Change, out: &mut Vec<u8>) {
    let start = begin(out);
    match change {
        Change::Began(new) => {
            out.push(BEGAN);
            text(out, new.xid.as_text());
            text(out, &new.application_id);
            text(out, &new.transaction_service_group);
            text(out, &new.name);
            out.extend(new.timeout_ms.to_le_bytes());
            long(out, new.begin_ms);
        }
        Change::Registered {
            transaction_id,
            branch,
        } => {
            out.push(REGISTERED);
            long(out, *transaction_id);
            long(out, branch.branch_id.0);
            out.push(branch.branch_type.code());
            text(out, &branch.resource_id);
            text(out, &branch.client_id);
            text(out, &branch.application_data);
            text(out, &branch.lock_key);
            long(out, branch.registered_ms);
        }
        Change::Reported {
            transaction_id,
            branch_id,
            status,
            application_data,
        } => {
            out.push(REPORTED);
            long(out, *transaction_id);
            long(out, branch_id.0);
            out.push(status.code());
            text(out, application_data);
        }
        Change::Moved {
            transaction_id,
            status,
            decided_ms,
            unlock,
        } => {
            out.push(MOVED);
            long(out, *transaction_id);
            out.push(status.code());
            long(out, *decided_ms);
            out.push(u8::from(*unlock));
        }
        Change::BranchEnded {
            transaction_id,
            branch_id,
        } => {
            out.push(BRANCH_ENDED);
            long(out, *transaction_id);
            long(out, branch_id.0);
        }
        Change::Ended {
            transaction_id,
            tombstone,
            forgotten,
        } => {
            out.push(ENDED);
            long(out, *transaction_id);
            encode_tombstone(tombstone, out);
            out.extend(forgotten.to_le_bytes());
        }
        Change::Unlocked { transaction_id } => {
            out.push(UNLOCKED);
            long(out, *transaction_id);
        }
        Change::Forgot { before_ms } => {
            out.push(FORGOT);
            long(out, *before_ms);
        }
    }
    finish(out, start);
}

/// Appends a transaction as a snapshot item. Its branches are to follow.
pub(crate) fn encode_global(entry: &GlobalEntry, out: &mut Vec<u8>) {
    let global = &entry.global;
    let branches = u32::try_from(global.branches.len()).expect("branches are limited");
    let start = begin(out);
    out.push(GLOBAL);
    text(out, global.xid.as_text());
    text(out, &global.application_id);
    text(out, &global.transaction_service_group);
    text(out, &global.name);
    out.extend(global.timeout_ms.to_le_bytes());
    long(out, global.begin_ms);
    out.push(global.status.code());
    long(out, global.decided_ms);
    out.push(u8::from(global.saga) | u8::from(entry.settled) << 1);
    out.extend(branches.to_le_bytes());
    finish(out, start);
}

/// Appends a branch as a snapshot item.
pub(crate) fn encode_branch(branch: &Branch, locked: bool, out: &mut Vec<u8>) {
    let start = begin(out);
    out.push(BRANCH);
    long(out, branch.branch_id.0);
    out.push(branch.branch_type.code());
    out.push(branch.status.code());
    text(out, &branch.resource_id);
    text(out, &branch.client_id);
    text(out, &branch.application_data);
    text(out, &branch.lock_key);
    long(out, branch.registered_ms);
    out.push(u8::from(locked));
    finish(out, start);
}

/// Appends a tombstone as a snapshot item.
pub(crate) fn encode_tombstone_item(
    address: &str,
    id: i64,
    tombstone: &Tombstone,
    out: &mut Vec<u8>,
) {
    let start = begin(out);
    out.push(TOMBSTONE);
    text(out, Xid::new(address, id).as_text());
    encode_tombstone(tombstone, out);
    finish(out, start);
}

/// Reads the record at the start of `input` and takes it off; the texts share its buffer.
pub(crate) fn decode(input: &mut Bytes) -> Result<Record, Unreadable> {
    let mut reader = Reader(input);
    let length = reader.word()? as usize;
    if length > reader.0.len() {
        return Err(SHORT);
    }
    let mut body = reader.0.split_to(length);
    let mut reader = Reader(&mut body);
    let record = reader.record()?;
    match reader.0.is_empty() {
        true => Ok(record),
        false => Err(Unreadable("a record is longer than its fields")),
    }
}

fn encode_tombstone(tombstone: &Tombstone, out: &mut Vec<u8>) {
    out.push(match tombstone.end {
        End::Committed => 0,
        End::RolledBack => 1,
        End::TimedOut => 2,
        End::Finished => 3,
    });
    long(out, tombstone.decided_ms);
    long(out, tombstone.ended_ms);
}

fn begin(out: &mut Vec<u8>) -> usize {
    out.extend([0; 4]);
    out.len()
}

fn finish(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start).expect("the limits keep records below 4 GiB");
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

fn long(out: &mut Vec<u8>, value: i64) {
    out.extend(value.to_le_bytes());
}

fn text(out: &mut Vec<u8>, value: &Text) {
    let bytes = value.as_bytes();
    let length = u32::try_from(bytes.len()).expect("the limits keep texts below 4 GiB");
    out.extend(length.to_le_bytes());
    out.extend(bytes);
}

struct Reader<'a>(&'a mut Bytes);

impl Reader<'_> {
    fn record(&mut self) -> Result<Record, Unreadable> {
        Ok(match self.byte()? {
            BEGAN => Record::Change(Change::Began(self.began()?)),
            REGISTERED => Record::Change(self.registered()?),
            REPORTED => Record::Change(Change::Reported {
                transaction_id: self.long()?,
                branch_id: BranchId(self.long()?),
                status: self.branch_status()?,
                application_data: self.text()?,
            }),
            MOVED => Record::Change(Change::Moved {
                transaction_id: self.long()?,
                status: self.global_status()?,
                decided_ms: self.long()?,
                unlock: self.flags(1)? == 1,
            }),
            BRANCH_ENDED => Record::Change(Change::BranchEnded {
                transaction_id: self.long()?,
                branch_id: BranchId(self.long()?),
            }),
            ENDED => Record::Change(Change::Ended {
                transaction_id: self.long()?,
                tombstone: self.tombstone()?,
                forgotten: self.word()?,
            }),
            UNLOCKED => Record::Change(Change::Unlocked {
                transaction_id: self.long()?,
            }),
            FORGOT => Record::Change(Change::Forgot {
                before_ms: self.long()?,
            }),
            GLOBAL => self.global()?,
            BRANCH => Record::Branch(self.branch()?),
            TOMBSTONE => Record::Tombstone {
                xid: self.xid()?,
                tombstone: self.tombstone()?,
            },
            _ => return Err(Unreadable("a record of an unknown kind")),
        })
    }

    fn began(&mut self) -> Result<NewGlobal, Unreadable> {
        Ok(NewGlobal {
            xid: self.xid()?,
            application_id: self.text()?,
            transaction_service_group: self.text()?,
            name: self.text()?,
            timeout_ms: self.word()? as i32,
            begin_ms: self.long()?,
        })
    }

    fn registered(&mut self) -> Result<Change, Unreadable> {
        Ok(Change::Registered {
            transaction_id: self.long()?,
            branch: Branch {
                branch_id: BranchId(self.long()?),
                branch_type: self.branch_type()?,
                status: BranchStatus::Registered,
                resource_id: self.text()?,
                client_id: self.text()?,
                application_data: self.text()?,
                lock_key: self.lock_key()?,
                registered_ms: self.long()?,
            },
        })
    }

    fn global(&mut self) -> Result<Record, Unreadable> {
        let new = self.began()?;
        let status = self.global_status()?;
        let decided_ms = self.long()?;
        let flags = self.flags(3)?;
        let global = Global {
            xid: new.xid,
            status,
            application_id: new.application_id,
            transaction_service_group: new.transaction_service_group,
            name: new.name,
            timeout_ms: new.timeout_ms,
            begin_ms: new.begin_ms,
            decided_ms,
            branches: Vec::new(),
            saga: flags & 1 != 0,
        };
        Ok(Record::Global {
            global,
            settled: flags & 2 != 0,
            branches: self.word()?,
        })
    }

    fn branch(&mut self) -> Result<KeptBranch, Unreadable> {
        let branch = Branch {
            branch_id: BranchId(self.long()?),
            branch_type: self.branch_type()?,
            status: self.branch_status()?,
            resource_id: self.text()?,
            client_id: self.text()?,
            application_data: self.text()?,
            lock_key: self.lock_key()?,
            registered_ms: self.long()?,
        };
        Ok(KeptBranch {
            branch,
            locked: self.flags(1)? == 1,
        })
    }

    fn tombstone(&mut self) -> Result<Tombstone, Unreadable> {
        let end = match self.byte()? {
            0 => End::Committed,
            1 => End::RolledBack,
            2 => End::TimedOut,
            3 => End::Finished,
            _ => return Err(Unreadable("an unknown way to end")),
        };
        Ok(Tombstone {
            end,
            decided_ms: self.long()?,
            ended_ms: self.long()?,
        })
    }

    fn xid(&mut self) -> Result<Xid, Unreadable> {
        Xid::parse(&self.text()?).ok_or(Unreadable("an xid without a number"))
    }

    fn lock_key(&mut self) -> Result<Text, Unreadable> {
        let key = self.text()?;
        match crate::tc::lock::parse(&key) {
            Ok(_) => Ok(key),
            Err(_) => Err(Unreadable("a malformed lock key")),
        }
    }

    fn global_status(&mut self) -> Result<GlobalStatus, Unreadable> {
        GlobalStatus::from_code(self.byte()?).ok_or(Unreadable("an unknown global status"))
    }

    fn branch_status(&mut self) -> Result<BranchStatus, Unreadable> {
        BranchStatus::from_code(self.byte()?).ok_or(Unreadable("an unknown branch status"))
    }

    fn branch_type(&mut self) -> Result<BranchType, Unreadable> {
        BranchType::from_code(self.byte()?).ok_or(Unreadable("an unknown branch type"))
    }

    fn text(&mut self) -> Result<Text, Unreadable> {
        let length = self.word()? as usize;
        if length > self.0.len() {
            return Err(SHORT);
        }
        let bytes = self.0.split_to(length);
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Text::from_utf8_lossy(bytes)),
            Err(_) => Err(Unreadable("text that is no UTF-8")),
        }
    }

    fn flags(&mut self, known: u8) -> Result<u8, Unreadable> {
        let flags = self.byte()?;
        match flags & !known {
            0 => Ok(flags),
            _ => Err(Unreadable("an unknown flag")),
        }
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take::<1>().map(|bytes| bytes[0])
    }

    fn word(&mut self) -> Result<u32, Unreadable> {
        self.take().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Result<i64, Unreadable> {
        self.take().map(i64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let bytes = *self.0.first_chunk::<N>().ok_or(SHORT)?;
        bytes::Buf::advance(self.0, N);
        Ok(bytes)
    }
}

const SHORT: Unreadable = Unreadable("a record is shorter than its fields");

const BEGAN: u8 = 1;
const REGISTERED: u8 = 2;
const REPORTED: u8 = 3;
const MOVED: u8 = 4;
const BRANCH_ENDED: u8 = 5;
const ENDED: u8 = 6;
const UNLOCKED: u8 = 7;
const FORGOT: u8 = 8;
const GLOBAL: u8 = 32;
const BRANCH: u8 = 33;
const TOMBSTONE: u8 = 34;
