//! What an action is registered with.

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use super::Fence;
use super::ReportTime;

/// What an action is registered with.
#[derive(Clone, Debug)]
pub struct TccOptions {
    pub(super) report: ReportTime,
    pub(super) context_characters_max: usize,
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(super) fence: Option<Fence>,
}

impl TccOptions {
    /// Without a fence; additions to the context are reported at once; a context has up to 64,000 characters.
    pub fn new() -> Self {
        Self {
            report: ReportTime::AtOnce,
            context_characters_max: CONTEXT_CHARACTERS_MAX,
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
