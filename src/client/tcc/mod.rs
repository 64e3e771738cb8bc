//! TCC mode: actions of the application with a try, a confirm and a cancel.
//!
//! An application implements [`TccAction`] and registers it; the handle's [`Tcc::try_in`] registers a branch and runs the try. The
//! coordinator then asks for the confirm or the cancel, here or in any other process that registered an action of that name,
//! Java's included: arguments travel as JSON as Java's clients write it.
//!
//! ```no_run
//! use seamio::client::tcc::{ActionContext, TccAction, TccError};
//! use serde::{Deserialize, Serialize};
//!
//! struct Reserve;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Seat {
//!     number: u32,
//! }
//!
//! impl TccAction for Reserve {
//!     type Args = Seat;
//!     type Out = ();
//!     type Error = String;
//!     const NAME: &'static str = "reserve-seat";
//!
//!     async fn try_(&self, _ctx: &mut ActionContext, seat: &Seat) -> Result<(), String> {
//!         println!("hold seat {}", seat.number);
//!         Ok(())
//!     }
//!
//!     async fn confirm(&self, _ctx: &mut ActionContext, seat: Seat) -> Result<(), TccError> {
//!         println!("sell seat {}", seat.number);
//!         Ok(())
//!     }
//!
//!     async fn cancel(&self, _ctx: &mut ActionContext, seat: Option<Seat>) -> Result<(), TccError> {
//!         println!("free seat {:?}", seat.map(|seat| seat.number));
//!         Ok(())
//!     }
//! }
//! ```
//!
//! # What a network does to an action
//!
//! A second phase may be asked twice; a cancel may come for a try that never ran, or before it. A [`Fence`] (features `mysql`,
//! `postgres`, `sqlite`) keeps that away: each phase then runs in a transaction of the application's database, open in
//! [`ActionContext::connection`], that also keeps what was done. Without one the action has to cope by itself.
//!
//! # What is answered to the coordinator
//!
//! | the second phase | answer |
//! |---|---|
//! | succeeds, or was done before | committed, rolled back |
//! | [`TccError::Retryable`], a panic, arguments that cannot be read, a failing database | retryable: it will be asked again |
//! | [`TccError::Unretryable`] | unretryable: the coordinator stops and a human has to look |
//! | a confirm after a cancel or the reverse (fenced) | unretryable, with an error in the log |
//! | a confirm without a try (fenced) | retryable: the try's transaction may still be open |
//!
//! Follows client.md 6.

mod action;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod cleaning;
mod context;
mod document;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod fence;
mod handle;
mod hooks;
mod json;
mod options;
mod reporting;
mod second_phase;

pub use action::{TccAction, TccError};
pub use context::{ActionContext, AddError};
pub use document::ContextError;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use fence::{Fence, FenceDatabase, FenceError};
pub use handle::{RegisterError, Tcc, TryError};
pub use hooks::TccHook;
pub use options::{Isolation, TccOptions};
pub use reporting::ReportTime;
