//! Telling the coordinator what a try added to its context.

use super::context::AddError;
use super::document::Document;
use crate::client::{Error, Rm};
use crate::proto::Text;
use crate::proto::message::BranchReport;
use crate::proto::status::{BranchStatus, BranchType};
use crate::xid::BranchId;

/// When the coordinator is told what a try added to its context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportTime {
    /// With each addition. What was added before a crash is there for the cancel.
    #[default]
    AtOnce,
    /// Once, when the try is over, also when it failed.
    AfterTry,
}

/// How a phase's additions travel.
pub(super) enum Reporting {
    /// Not at all: a second phase.
    Never,
    /// By this connection, up to this many characters.
    By {
        rm: Rm,
        action: &'static str,
        time: ReportTime,
        limit: usize,
        /// Something was added that the coordinator does not know.
        owes: bool,
    },
}

impl Reporting {
    /// The most characters of a context; None where nothing may be added.
    pub(super) fn limit(&self) -> Option<usize> {
        match self {
            Self::Never => None,
            Self::By { limit, .. } => Some(*limit),
        }
    }

    /// Something was added.
    pub(super) async fn added(
        &mut self,
        xid: &Text,
        branch_id: BranchId,
        document: &Document,
    ) -> Result<(), AddError> {
        let Self::By { time, owes, .. } = self else {
            return Err(AddError::NotInTry);
        };
        *owes = true;
        match time {
            ReportTime::AfterTry => Ok(()),
            ReportTime::AtOnce => {
                let settled = self.settle(xid, branch_id, document).await;
                settled.map_err(AddError::Report)
            }
        }
    }

    /// Tells the coordinator what it does not know yet.
    pub(super) async fn settle(
        &mut self,
        xid: &Text,
        branch_id: BranchId,
        document: &Document,
    ) -> Result<(), Error> {
        match self {
            Self::By {
                rm, action, owes, ..
            } if *owes => {
                let report = BranchReport {
                    xid: xid.clone(),
                    branch_id: branch_id.0,
                    branch_type: BranchType::Tcc,
                    resource_id: Text::from(*action),
                    status: BranchStatus::Registered,
                    application_data: document.to_text(),
                };
                rm.report_branch(report).await?;
                *owes = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
