//! One error for a program that uses several rooms: each room has its own, and all of them convert into [`Error`].

use std::fmt;

/// What went wrong, by room.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A peer's bytes are no frame: close its connection.
    Frame(crate::proto::FrameError),
    /// A frame holds no message: close the connection, its peer waits for an answer that cannot be given.
    Decode(crate::proto::DecodeError),
    /// A message does not fit the format: nothing was sent.
    Encode(crate::proto::EncodeError),
    /// The network runtime: the variant says what to do.
    Net(crate::net::Error),
    /// A journal cannot be opened or read.
    Journal(crate::tc::store::journal::OpenError),
    /// A coordinator cannot start or go on.
    Server(crate::tc::server::Error),
    /// A global transaction of this process failed: the variant says what to do.
    #[cfg(feature = "client")]
    Client(crate::client::Error),
    /// A setting cannot be used: correct it and start again.
    #[cfg(feature = "server")]
    Config(crate::config::Error),
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! from {
    ($($(#[$meta:meta])* $variant:ident($error:ty)),+ $(,)?) => {
        $($(#[$meta])* impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $($(#[$meta])* Self::$variant(error) => error.fmt(f)),+ }
            }
        }

        impl std::error::Error for Error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                match self { $($(#[$meta])* Self::$variant(error) => error.source()),+ }
            }
        }
    };
}

from! {
    #[cfg(feature = "client")]
    Client(crate::client::Error),
    Frame(crate::proto::FrameError),
    Decode(crate::proto::DecodeError),
    Encode(crate::proto::EncodeError),
    Net(crate::net::Error),
    Journal(crate::tc::store::journal::OpenError),
    Server(crate::tc::server::Error),
    #[cfg(feature = "server")]
    Config(crate::config::Error),
}
