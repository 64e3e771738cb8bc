//! Queries whose values can be bound again: to the statement, and to the queries that read its images.

use std::fmt;

use sqlx::{Encode, FromRow, SqlSafeStr, SqlStr, Type};

use super::AtBranch;
use super::given::{Copied, Given, Rebind};
use crate::client::at::Error;
use crate::client::at::database::{Database, Reuse};

/// A statement with values, made by [`query`].
#[must_use = "it runs when a branch executes it"]
pub struct Query<'q, DB: Database> {
    sql: SqlStr,
    values: Vec<Box<dyn Rebind<DB> + 'q>>,
}

/// A statement for [`AtBranch::execute`] and its like.
///
/// It is needed where the image of a statement wants a parameter twice or in another order, which a list of sqlx cannot give:
/// the refusal says so. Large values travel once less, too.
///
/// ```no_run
/// # async fn run(branch: &mut seamio::client::at::AtBranch<'_, sqlx::MySql>) -> Result<(), seamio::client::at::Error> {
/// use seamio::client::at;
///
/// let update = at::query("UPDATE stock SET qty = qty - ? WHERE id = ?").bind(3).bind(7_i64);
/// let changed = branch.execute(update).await?.rows_affected();
/// # Ok(())
/// # }
/// ```
pub fn query<'q, DB: Database>(sql: impl SqlSafeStr) -> Query<'q, DB> {
    Query {
        sql: sql.into_sql_str(),
        values: Vec::new(),
    }
}

impl<'q, DB: Database> Query<'q, DB> {
    /// Binds the next parameter.
    pub fn bind<T>(mut self, value: T) -> Self
    where
        T: Encode<'q, DB> + Type<DB> + Clone + Send + Sync + 'q,
    {
        self.values.push(Box::new(Copied(value)));
        self
    }
}

impl<DB: Database> fmt::Debug for Query<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("sql", &self.sql.as_str())
            .field("values", &self.values.len())
            .finish()
    }
}

impl<DB: Database> AtBranch<'_, DB> {
    /// Runs a statement.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn execute(&mut self, query: Query<'_, DB>) -> Result<DB::QueryResult, Error> {
        let answer = self.run_query(query).await?;
        let mut result = DB::QueryResult::default();
        result.extend(answer.steps.into_iter().filter_map(sqlx::Either::left));
        Ok(result)
    }

    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn fetch_all(&mut self, query: Query<'_, DB>) -> Result<Vec<DB::Row>, Error> {
        let answer = self.run_query(query).await?;
        Ok(answer
            .steps
            .into_iter()
            .filter_map(sqlx::Either::right)
            .collect())
    }

    /// Runs a statement and gives its rows as `T`.
    ///
    /// # Errors
    ///
    /// See [`Error`]; [`Error::Database`] for a row that is no `T`.
    pub async fn fetch_as<T>(&mut self, query: Query<'_, DB>) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, DB::Row>,
    {
        let rows = self.fetch_all(query).await?;
        rows.iter()
            .map(|row| T::from_row(row).map_err(Error::Database))
            .collect()
    }

    async fn run_query(
        &mut self,
        query: Query<'_, DB>,
    ) -> Result<crate::client::at::database::Answer<DB>, Error> {
        self.perform(query.sql, Given::Each(query.values), Reuse::Kept)
            .await
    }
}
