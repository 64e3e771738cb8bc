//! sqlx's own queries on a branch.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{Either, Execute, Executor, SqlStr};

use super::AtBranch;
use super::given::Given;
use crate::client::at::Error;
use crate::client::at::database::{Answer, Database, Reuse};

type Step<DB> = Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>;

/// All rows are there before the first is given: one connection runs one statement at a time, and the image behind a statement is
/// read on it.
impl<'c, DB: Database> Executor<'c> for &'c mut AtBranch<'_, DB> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        Box::pin(Answers::Running(self.run_executed(query)))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let running = self.run_executed(query);
        Box::pin(async move { Ok(running.await?.steps.into_iter().find_map(Either::right)) })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, sqlx::Error>>
    where
        'c: 'e,
    {
        DB::prepare(&mut self.transaction, sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<DB>, sqlx::Error>>
    where
        'c: 'e,
    {
        DB::describe(&mut self.transaction, sql)
    }
}

impl<DB: Database> AtBranch<'_, DB> {
    fn run_executed<'e, 'q: 'e, E>(
        &'e mut self,
        mut query: E,
    ) -> BoxFuture<'e, Result<Answer<DB>, sqlx::Error>>
    where
        E: 'q + Execute<'q, DB>,
    {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode);
        let reuse = match query.persistent() {
            true => Reuse::Kept,
            false => Reuse::Once,
        };
        let sql = query.sql();
        Box::pin(async move {
            let given = Given::List(arguments?);
            let answer: Result<_, Error> = self.perform(sql, given, reuse).await;
            answer.map_err(sqlx::Error::from)
        })
    }
}

/// The answers of a statement: first being collected, then given one after the other.
enum Answers<'e, DB: Database> {
    Running(BoxFuture<'e, Result<Answer<DB>, sqlx::Error>>),
    Given(VecDeque<Step<DB>>),
}

impl<DB: Database> Stream for Answers<'_, DB> {
    type Item = Result<Step<DB>, sqlx::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Self::Running(running) = this {
            let answer = match running.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => answer,
            };
            match answer {
                Ok(answer) => *this = Self::Given(answer.steps.into()),
                Err(error) => {
                    *this = Self::Given(VecDeque::new());
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        match this {
            Self::Given(steps) => Poll::Ready(steps.pop_front().map(Ok)),
            Self::Running(_) => Poll::Ready(None),
        }
    }
}

/// Nothing in it is pinned in place.
impl<DB: Database> Unpin for Answers<'_, DB> {}
