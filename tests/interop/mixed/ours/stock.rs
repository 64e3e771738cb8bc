//! The TCC action: it tells of each of its phases.

use std::convert::Infallible;

use seamio::client::tcc::{ActionContext, TccAction, TccError};
use serde::{Deserialize, Serialize};

use crate::tell;

/// Reserves, and says so.
pub(crate) struct Stock;

/// What is reserved.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) item: String,
    pub(crate) quantity: i64,
}

impl TccAction for Stock {
    type Args = Reservation;
    type Out = ();
    type Error = Infallible;

    const NAME: &'static str = "stockOfOurs";

    async fn try_(&self, ctx: &mut ActionContext, args: &Reservation) -> Result<(), Infallible> {
        told("try", ctx, Some(args));
        Ok(())
    }

    async fn confirm(&self, ctx: &mut ActionContext, args: Reservation) -> Result<(), TccError> {
        told("confirm", ctx, Some(&args));
        Ok(())
    }

    async fn cancel(
        &self,
        ctx: &mut ActionContext,
        args: Option<Reservation>,
    ) -> Result<(), TccError> {
        told("cancel", ctx, args.as_ref());
        Ok(())
    }
}

fn told(phase: &str, ctx: &ActionContext, args: Option<&Reservation>) {
    let (item, quantity) = match args {
        Some(args) => (args.item.as_str(), args.quantity.to_string()),
        None => ("none", "none".to_owned()),
    };
    let branch = format!("{:?}", ctx.branch_id());
    tell(&["call", phase, ctx.xid(), &branch, item, &quantity]);
}
