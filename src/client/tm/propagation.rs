//! What a call does where there is a global transaction already, or none (client.md 2.3): a table.

use crate::client::PropagationError;
use crate::proto::Text;

/// What a call does where there is a global transaction already, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// Join it, or begin one.
    #[default]
    Required,
    /// Begin a new one; one that is there is out of sight meanwhile.
    RequiresNew,
    /// Run without; one that is there is out of sight meanwhile.
    NotSupported,
    /// Join it, or run without.
    Supports,
    /// Run without; where there is one, fail.
    Never,
    /// Join it; where there is none, fail.
    Mandatory,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Take part in the one that is there; its launcher ends it.
    Join,
    /// Begin one and end it.
    Launch,
    /// Run the code with no transaction in sight.
    Without,
    /// Do not run it.
    Refuse(PropagationError),
}

impl Propagation {
    /// Every value.
    pub const ALL: [Self; 6] = [
        Self::Required,
        Self::RequiresNew,
        Self::NotSupported,
        Self::Supports,
        Self::Never,
        Self::Mandatory,
    ];

    /// The plan where `present` is the transaction that is there.
    pub(super) fn plan(self, present: Option<&Text>) -> Plan {
        match (self, present) {
            (Self::Required | Self::Supports | Self::Mandatory, Some(_)) => Plan::Join,
            (Self::Required, None) | (Self::RequiresNew, _) => Plan::Launch,
            (Self::NotSupported, _) | (Self::Supports | Self::Never, None) => Plan::Without,
            (Self::Never, Some(xid)) => Plan::Refuse(PropagationError::Never { xid: xid.clone() }),
            (Self::Mandatory, None) => Plan::Refuse(PropagationError::Mandatory),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let xid = Text::from("h:1:2");
        let never = PropagationError::Never { xid: xid.clone() };
        let table = [
            (Propagation::Required, Plan::Join, Plan::Launch),
            (Propagation::RequiresNew, Plan::Launch, Plan::Launch),
            (Propagation::NotSupported, Plan::Without, Plan::Without),
            (Propagation::Supports, Plan::Join, Plan::Without),
            (Propagation::Never, Plan::Refuse(never), Plan::Without),
            (
                Propagation::Mandatory,
                Plan::Join,
                Plan::Refuse(PropagationError::Mandatory),
            ),
        ];
        assert_eq!(table.len(), Propagation::ALL.len());
        for (propagation, present, absent) in table {
            assert_eq!(propagation.plan(Some(&xid)), present, "{propagation:?}");
            assert_eq!(propagation.plan(None), absent, "{propagation:?}");
        }
    }
}
