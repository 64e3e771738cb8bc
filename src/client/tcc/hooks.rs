//! Who is told of the phases of an action (client.md 6.2 and 6.3).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::ActionContext;

/// Is called around the phases of an action, in the task that runs them. Each method does nothing unless it is written. A panic
/// in one is logged and ignored.
///
/// The context names the transaction and the branch, and gives what the branch carries; the fence's connection is not open yet,
/// or not any more. What stands behind a phase is called whatever came of it, unless its future is dropped or panics.
#[allow(unused_variables)]
pub trait TccHook: Send + Sync + 'static {
    /// The branch is registered, and its try comes next.
    fn before_try(&self, ctx: &ActionContext) {}
    /// The try is over.
    fn after_try(&self, ctx: &ActionContext) {}
    /// The coordinator asks for the confirm, maybe not for the first time.
    fn before_confirm(&self, ctx: &ActionContext) {}
    /// The confirm is over.
    fn after_confirm(&self, ctx: &ActionContext) {}
    /// The coordinator asks for the cancel, maybe not for the first time, maybe of a try that never ran.
    fn before_cancel(&self, ctx: &ActionContext) {}
    /// The cancel is over.
    fn after_cancel(&self, ctx: &ActionContext) {}
}

/// The hooks of one action.
#[derive(Clone, Default)]
pub(super) struct Hooks(pub(super) Vec<Arc<dyn TccHook>>);

impl Hooks {
    /// Calls each in turn. What goes wrong in one concerns nobody else.
    pub(super) fn call(&self, step: impl Fn(&dyn TccHook)) {
        for hook in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| step(&**hook))).is_err() {
                log::error!("event=hook-panicked");
            }
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}
