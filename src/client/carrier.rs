//! The way of a transaction from service to service: two headers, named as Java names them (client.md 2.5).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::Seata;
use super::tm::{GlobalTx, TxRole};
use crate::proto::Text;
use crate::proto::status::BranchType;

/// The header that carries the xid.
pub const XID_HEADER: &str = "TX_XID";
/// The header that carries the type of the caller's branches.
pub const BRANCH_TYPE_HEADER: &str = "TX_BRANCH_TYPE";

/// Headers of a request, or whatever stands for them: metadata, attachments, message properties.
///
/// Implemented for maps and lists of texts. For another kind of headers these two methods are all that is needed.
///
/// ```
/// use std::collections::HashMap;
/// use seamio::client::{HeaderCarrier, Incoming};
///
/// let headers = HashMap::from([("tx_xid".to_owned(), "10.0.0.1:8091:42".to_owned())]);
/// let incoming = Incoming::extract(&headers)?.expect("a transaction");
/// assert_eq!(incoming.xid, "10.0.0.1:8091:42");
/// assert_eq!(Incoming::extract(&HashMap::<String, String>::new())?, None);
/// # Ok::<(), seamio::client::HeaderError>(())
/// ```
pub trait HeaderCarrier {
    /// The value of this header, whatever the case its name is written in. A value that is no text is none.
    fn header(&self, name: &str) -> Option<Cow<'_, str>>;

    /// Sets this header and replaces one that is there.
    fn set_header(&mut self, name: &str, value: &str);
}

/// What a request says about the transaction it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The transaction.
    pub xid: Text,
    /// The type of the caller's branches, where it told one that exists.
    pub branch_type: Option<BranchType>,
}

/// A header that is there and is no xid. Nothing of its value is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderError {
    /// The value, cut after [`XID_CHARS_MAX`] characters.
    pub value: String,
}

impl Incoming {
    /// Reads the headers. None when the request belongs to no transaction.
    ///
    /// # Errors
    /// [`HeaderError`] when [`XID_HEADER`] is there and holds no xid: not `host:port:number`, longer than [`XID_CHARS_MAX`]
    /// characters, or with blanks or control characters.
    pub fn extract(headers: &(impl HeaderCarrier + ?Sized)) -> Result<Option<Self>, HeaderError> {
        let Some(value) = headers.header(XID_HEADER) else {
            return Ok(None);
        };
        let xid = value.trim();
        if xid.is_empty() {
            return Ok(None);
        }
        if !is_xid(xid) {
            let value = xid.chars().take(XID_CHARS_MAX).collect();
            return Err(HeaderError { value });
        }
        let branch_type = headers.header(BRANCH_TYPE_HEADER);
        let named = |kind: &&BranchType| {
            branch_type
                .as_deref()
                .is_some_and(|name| kind.name().eq_ignore_ascii_case(name.trim()))
        };
        Ok(Some(Self {
            xid: xid.into(),
            branch_type: BranchType::ALL.iter().find(named).copied(),
        }))
    }
}

impl Seata {
    /// Takes part in the transaction that a request belongs to; None when it belongs to none. Run the request's code in
    /// [`GlobalTx::scope`], which ends with it.
    ///
    /// # Errors
    /// As [`Incoming::extract`].
    pub fn extract(
        &self,
        headers: &(impl HeaderCarrier + ?Sized),
    ) -> Result<Option<GlobalTx>, HeaderError> {
        let incoming = Incoming::extract(headers)?;
        Ok(incoming.map(|incoming| self.join(incoming.xid)))
    }
}

impl GlobalTx {
    /// Writes the headers of a request that belongs to this transaction; none for
    /// [`TxRole::Absent`]. `branch_type` is that of the caller's own branches.
    pub fn inject(&self, branch_type: BranchType, headers: &mut (impl HeaderCarrier + ?Sized)) {
        if self.role() != TxRole::Absent {
            headers.set_header(XID_HEADER, self.xid());
            headers.set_header(BRANCH_TYPE_HEADER, branch_type.name());
        }
    }
}

/// `.+:\d+:\d+`, not too long and in visible characters.
fn is_xid(text: &str) -> bool {
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let Some((address, id)) = text.rsplit_once(':') else {
        return false;
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let visible = |c: char| !c.is_whitespace() && !c.is_control();
    number(id)
        && number(port)
        && !host.is_empty()
        && text.chars().all(visible)
        && text.chars().count() <= XID_CHARS_MAX
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the header {XID_HEADER} holds {:?}, which is no xid: host:port:number, at most {XID_CHARS_MAX} characters",
            self.value
        )
    }
}

impl std::error::Error for HeaderError {}

impl HeaderCarrier for Vec<(String, String)> {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.into())
    }

    fn set_header(&mut self, name: &str, value: &str) {
        self.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value.to_owned()));
    }
}

macro_rules! carried_by_map {
    ($map:ty) => {
        impl HeaderCarrier for $map {
            fn header(&self, name: &str) -> Option<Cow<'_, str>> {
                let exact = self.get(name);
                let any_case = || {
                    self.iter()
                        .find(|(other, _)| other.eq_ignore_ascii_case(name))
                };
                exact
                    .or_else(|| any_case().map(|(_, value)| value))
                    .map(|value| value.into())
            }

            fn set_header(&mut self, name: &str, value: &str) {
                self.retain(|other, _| !other.eq_ignore_ascii_case(name));
                self.insert(name.to_owned(), value.to_owned());
            }
        }
    };
}

carried_by_map!(BTreeMap<String, String>);
carried_by_map!(HashMap<String, String>);

/// Longest xid that is taken from a header; the stores of coordinators keep no longer one.
pub const XID_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_are_read_in_any_case_and_absence_is_no_transaction() {
        for name in ["TX_XID", "tx_xid", "Tx_Xid"] {
            let found = Incoming::extract(&headers(&[(name, " 10.0.0.1:8091:42 ")]));
            let expected = Incoming {
                xid: "10.0.0.1:8091:42".into(),
                branch_type: None,
            };
            assert_eq!(found, Ok(Some(expected)), "{name}");
        }
        for none in [
            headers(&[]),
            headers(&[("TX_XID", " ")]),
            headers(&[("other", "1")]),
        ] {
            assert_eq!(Incoming::extract(&none), Ok(None), "{none:?}");
        }
    }

    #[test]
    fn branch_types_are_read_and_unknown_ones_ignored() {
        for (text, expected) in [
            ("TCC", Some(BranchType::Tcc)),
            ("at", Some(BranchType::At)),
            ("?", None),
        ] {
            let all = headers(&[("TX_XID", "h:1:2"), ("tx_branch_type", text)]);
            let found = Incoming::extract(&all).expect("sound").expect("there");
            assert_eq!(found.branch_type, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_xid_is_refused() {
        let long = format!("{}:1:2", "h".repeat(125));
        let just = format!("{}:1:2", "h".repeat(124));
        assert!(Incoming::extract(&headers(&[("TX_XID", just.as_str())])).is_ok());
        for value in [
            "x",
            "a:b",
            "h:1:x",
            ":1:2",
            "h:x:2",
            "h:1:",
            "h h:1:2",
            "h\n:1:2",
            long.as_str(),
        ] {
            let refused = Incoming::extract(&headers(&[("TX_XID", value)]));
            let error = refused.expect_err(value);
            assert!(error.value.chars().count() <= XID_CHARS_MAX);
        }
        assert!(Incoming::extract(&headers(&[("TX_XID", "fe80::1:8091:7")])).is_ok());
    }

    #[test]
    fn a_header_is_replaced_whatever_its_case() {
        let mut list = headers(&[("tx_xid", "old:1:1")]);
        let mut tree: BTreeMap<String, String> = list.iter().cloned().collect();
        let mut map: HashMap<String, String> = list.iter().cloned().collect();
        let all: [&mut dyn HeaderCarrier; 3] = [&mut list, &mut tree, &mut map];
        for carrier in all {
            carrier.set_header(XID_HEADER, "new:1:1");
            assert_eq!(carrier.header("tx_xid").as_deref(), Some("new:1:1"));
        }
        assert_eq!((list.len(), tree.len(), map.len()), (1, 1, 1));
    }
}
