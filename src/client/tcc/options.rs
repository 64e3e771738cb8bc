//! What an action is registered with.

use std::sync::Arc;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use super::Fence;
use super::hooks::Hooks;
use super::{ReportTime, TccHook};

/// What an action is registered with.
#[derive(Clone, Debug)]
pub struct TccOptions {
    pub(super) report: ReportTime,
    pub(super) context_characters_max: usize,
    pub(super) isolation: Option<Isolation>,
    pub(super) hooks: Hooks,
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) fence: Option<Fence>,
}

/// How far a local transaction is kept apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// It sees what others have not committed.
    ReadUncommitted,
    /// It sees what others have committed.
    ReadCommitted,
    /// What it has read stays so.
    RepeatableRead,
    /// As if it was alone.
    Serializable,
}

impl Isolation {
    /// Its number in Java, which travels with the branch.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::ReadUncommitted => 1,
            Self::ReadCommitted => 2,
            Self::RepeatableRead => 4,
            Self::Serializable => 8,
        }
    }

    /// None for another number: Java has one for the database's own default.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) fn of_number(number: i64) -> Option<Self> {
        let all = [
            Self::ReadUncommitted,
            Self::ReadCommitted,
            Self::RepeatableRead,
            Self::Serializable,
        ];
        all.into_iter()
            .find(|level| i64::from(level.number()) == number)
    }
}

impl TccOptions {
    /// Without a fence; additions to the context are reported at once; a context has up to 64,000 characters.
    pub fn new() -> Self {
        Self {
            report: ReportTime::AtOnce,
            context_characters_max: CONTEXT_CHARACTERS_MAX,
            isolation: None,
            hooks: Hooks::default(),
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            fence: None,
        }
    }

    /// Guards the three phases. The action does its work over [`ActionContext::connection`](super::ActionContext::connection).
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub fn fence(mut self, fence: &Fence) -> Self {
        self.fence = Some(fence.clone());
        self
    }

    /// The level of the fence's transactions, instead of the database's own; SQLite has only the highest. It travels with the
    /// branch as `isolation`, where second phases in other processes find it, Java's included.
    pub fn isolation(mut self, level: Isolation) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Is told of each phase. May be called more than once; they are told in this order.
    pub fn hook(mut self, hook: Arc<dyn TccHook>) -> Self {
        self.hooks.0.push(hook);
        self
    }

    /// When the coordinator is told what a try added to its context.
    pub fn report(mut self, time: ReportTime) -> Self {
        self.report = time;
        self
    }

    /// The most characters (UTF-16 units) that a context may have. A try whose context is longer fails; Java's
    /// `client.rm.applicationDataLimit`. Coordinators that keep branches in a database have limits of their own.
    pub fn context_characters_max(mut self, characters: usize) -> Self {
        self.context_characters_max = characters;
        self
    }
}

impl Default for TccOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// As `client.rm.applicationDataLimit` of Seata.
const CONTEXT_CHARACTERS_MAX: usize = 64_000;
