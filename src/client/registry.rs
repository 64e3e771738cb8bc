//! Where the coordinators are: addresses by cluster, clusters by transaction service group (client.md 1.2).

use std::collections::BTreeMap;

use super::Error;
use crate::net::Endpoint;

/// A fixed list, as Java's registry type `file`.
///
/// ```
/// use seamio::client::File;
///
/// // One list for every group.
/// let simple = File::new(["10.0.0.1:8091", "10.0.0.2:8091"]);
/// assert_eq!(simple.addresses("order_group")?.len(), 2);
///
/// // `service.vgroupMapping.order_group = east`, `service.east.grouplist = …`.
/// let mapped = File::default()
///     .cluster("east", ["10.0.0.1:8091"])
///     .map_group("order_group", "east");
/// assert_eq!(mapped.addresses("order_group")?, ["10.0.0.1:8091"]);
/// assert!(mapped.addresses("other").is_err());
/// # Ok::<(), seamio::client::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    every_group: Option<Vec<String>>,
    clusters: BTreeMap<String, Vec<String>>,
    groups: BTreeMap<String, String>,
}

impl File {
    /// The same addresses for every group: `host:port`, or an endpoint such as `tls://host:port`.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            every_group: Some(addresses.into_iter().map(Into::into).collect()),
            ..Self::default()
        }
    }

    /// `service.<cluster>.grouplist`.
    #[must_use]
    pub fn cluster<A: Into<String>>(
        mut self,
        name: impl Into<String>,
        addresses: impl IntoIterator<Item = A>,
    ) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        self.clusters.insert(name.into(), addresses);
        self
    }

    /// `service.vgroupMapping.<group>`.
    #[must_use]
    pub fn map_group(mut self, group: impl Into<String>, cluster: impl Into<String>) -> Self {
        self.groups.insert(group.into(), cluster.into());
        self
    }

    /// The coordinators of a group.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the group or its cluster is unknown, or the list is empty or holds what is no address.
    pub fn addresses(&self, group: &str) -> Result<Vec<String>, Error> {
        let (list, of) = match (self.groups.get(group), &self.every_group) {
            (Some(cluster), _) => {
                let unknown = || {
                    Error::Invalid(format!(
                        "service.vgroupMapping.{group} names the cluster {cluster}, and there is no service.{cluster}.grouplist"
                    ))
                };
                (
                    self.clusters.get(cluster).ok_or_else(unknown)?,
                    cluster.as_str(),
                )
            }
            (None, Some(list)) => (list, group),
            (None, None) => {
                let what = format!(
                    "no cluster is known for the group {group}: set service.vgroupMapping.{group}"
                );
                return Err(Error::Invalid(what));
            }
        };
        check_addresses(list, of)?;
        Ok(list.clone())
    }
}

/// Refuses a list that is empty or holds what is no address.
pub(super) fn check_addresses(list: &[String], of: &str) -> Result<(), Error> {
    if list.is_empty() {
        return Err(Error::Invalid(format!(
            "the list of coordinators of {of} is empty"
        )));
    }
    for address in list {
        address
            .parse::<Endpoint>()
            .map_err(|error| Error::Invalid(format!("coordinator of {of}: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key_to_set() {
        let text = |file: &File, group| match file.addresses(group) {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        };
        let file = File::default()
            .map_group("a", "east")
            .cluster("west", [""; 0])
            .map_group("b", "west");
        assert!(text(&file, "a").contains("service.east.grouplist"));
        assert!(text(&file, "b").contains("empty"));
        assert!(text(&file, "c").contains("service.vgroupMapping.c"));
        assert!(text(&File::new(["host"]), "x").contains("not an endpoint"));
    }
}
