//! The parameters of a user's statement, as far as its image queries can have them.

use std::fmt;

use sqlx::error::BoxDynError;
use sqlx::{Arguments, Encode, Type};

use crate::client::at::Error;
use crate::client::at::database::Driver;
use crate::client::at::statement::{Binding, Derived, Parameters};

/// The parameters of a statement.
pub(super) enum Given<'q, DB: Driver> {
    /// sqlx's list, which can be copied as a whole and no other way. None: the statement is run without preparation.
    List(Option<DB::Arguments>),
    /// Values, each of which can be bound any number of times.
    Each(Vec<Box<dyn Rebind<DB> + 'q>>),
}

/// A value that can be bound more than once.
pub(super) trait Rebind<DB: Driver>: Send + Sync {
    /// Appends it to a list of parameters.
    fn append(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError>;
}

/// A value of a type that sqlx knows.
pub(super) struct Copied<T>(pub(super) T);

impl<'q, DB, T> Rebind<DB> for Copied<T>
where
    DB: Driver,
    T: Encode<'q, DB> + Type<DB> + Clone + Send + Sync + 'q,
{
    fn append(&self, arguments: &mut DB::Arguments) -> Result<(), BoxDynError> {
        arguments.add(self.0.clone())
    }
}

impl<DB: Driver> Given<'_, DB> {
    /// How they can be bound to other statements.
    pub(super) fn parameters(&self) -> Parameters {
        match self {
            Self::List(_) => Parameters::Whole,
            Self::Each(_) => Parameters::Picked,
        }
    }

    /// All of them, for the user's own statement. Always prepared where something is read back, since only prepared statements
    /// answer in the form that images are read from.
    pub(super) fn all(&self) -> Result<DB::Arguments, Error> {
        match self {
            Self::List(list) => Ok(list.clone().unwrap_or_default()),
            Self::Each(values) => {
                let mut arguments = DB::Arguments::default();
                for value in values {
                    append(value.as_ref(), &mut arguments)?;
                }
                Ok(arguments)
            }
        }
    }

    /// As the user gave them, for a statement that is passed on.
    pub(super) fn untouched(self) -> Result<Option<DB::Arguments>, Error> {
        match self {
            Self::List(list) => Ok(list),
            each @ Self::Each(_) => each.all().map(Some),
        }
    }

    /// A query made out of the user's statement, with what is bound to it.
    pub(super) fn bind(&self, query: Derived) -> Result<(String, DB::Arguments), Error> {
        let picked = match (&query.binding, self) {
            (Binding::Whole, _) => return Ok((query.sql, self.all()?)),
            (Binding::Picked(picked), Self::Each(values)) => picked
                .iter()
                .map(|at| values.get(*at))
                .collect::<Option<Vec<_>>>(),
            (Binding::Picked(_), Self::List(_)) => return Ok((query.whole()?, self.all()?)),
        };
        let mut arguments = DB::Arguments::default();
        let picked = picked.ok_or_else(|| {
            let what = "the statement has more placeholders than values are bound";
            Error::Database(sqlx::Error::InvalidArgument(what.to_owned()))
        })?;
        for value in picked {
            append(value.as_ref(), &mut arguments)?;
        }
        Ok((query.sql, arguments))
    }
}

fn append<DB: Driver>(
    value: &(dyn Rebind<DB> + '_),
    arguments: &mut DB::Arguments,
) -> Result<(), Error> {
    let appended = value.append(arguments);
    appended.map_err(|error| Error::Database(sqlx::Error::Encode(error)))
}

impl<DB: Driver> fmt::Debug for Given<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(_) => f.write_str("a list of parameters"),
            Self::Each(values) => write!(f, "{} parameters", values.len()),
        }
    }
}
