//! What a global transaction is told when it begins.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Propagation, TxHook};
use crate::client::Error;
use crate::proto::Text;
use crate::proto::message::GlobalBegin;

/// Name, timeout and propagation of a global transaction.
///
/// ```
/// use std::time::Duration;
/// use seamio::client::{Propagation, TxOptions};
///
/// let options = TxOptions::new("place-order")
///     .timeout(Duration::from_secs(30))
///     .propagation(Propagation::RequiresNew);
/// assert_eq!(options.name(), "place-order");
/// ```
#[derive(Clone)]
pub struct TxOptions {
    pub(super) name: String,
    pub(super) timeout: Duration,
    pub(super) propagation: Propagation,
    pub(super) hooks: Vec<Arc<dyn TxHook>>,
}

impl TxOptions {
    /// A transaction of this name, with a timeout of 60 s, that joins one that is there.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            timeout: TIMEOUT_DEFAULT,
            propagation: Propagation::Required,
            hooks: Vec::new(),
        }
    }

    /// The time after which it is rolled back unless it was ended before, from 1 ms to 24 days.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What to do where there is a transaction already, or none. Counts for [`transaction`](crate::client::Seata::transaction)
    /// only.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = propagation;
        self
    }

    /// Adds a hook for this transaction, after those of the client. Counts for
    /// [`transaction`](crate::client::Seata::transaction) only.
    #[must_use]
    pub fn hook(mut self, hook: Arc<dyn TxHook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The request that begins it.
    pub(super) fn request(&self) -> Result<GlobalBegin, Error> {
        let timeout_ms = i32::try_from(self.timeout.as_millis());
        let timeout_ms = timeout_ms.ok().filter(|ms| *ms > 0).ok_or_else(|| {
            let timeout = self.timeout;
            Error::Invalid(format!(
                "a timeout of {timeout:?} cannot be told to the coordinator: it counts whole milliseconds, from 1 to {}",
                i32::MAX
            ))
        })?;
        Ok(GlobalBegin {
            timeout_ms,
            transaction_name: Text::from(self.name.as_str()),
        })
    }
}

impl Default for TxOptions {
    /// Java's: named `default`.
    fn default() -> Self {
        Self::new("default")
    }
}

impl fmt::Debug for TxOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxOptions")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("propagation", &self.propagation)
            .finish_non_exhaustive()
    }
}

/// `client.tm.defaultGlobalTransactionTimeout`.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_that_do_not_fit_are_refused() {
        for timeout in [
            Duration::ZERO,
            Duration::from_nanos(999_999),
            Duration::from_secs(3_000_000),
        ] {
            let options = TxOptions::new("a").timeout(timeout);
            assert!(options.request().is_err(), "{timeout:?}");
        }
        let begin = TxOptions::default().request().expect("sound");
        assert_eq!(
            (begin.timeout_ms, &*begin.transaction_name),
            (60_000, "default")
        );
    }
}
