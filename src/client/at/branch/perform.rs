//! One statement of a branch: recognised, its rows read before and behind it, what it did recorded (client.md 3.3).

use std::sync::Arc;

use sqlx::SqlStr;

use super::given::Given;
use super::{AtBranch, Condition, Mode, Record, Unit};
use crate::client::at::Error;
use crate::client::at::database::{Aftermath, Answer, Bound, Database, Reuse};
use crate::client::at::image::{Image, SqlType, UndoItem};
use crate::client::at::images::{self, key_columns, keys_of, rows_by_key};
use crate::client::at::lock_key::{self, TableKeys};
use crate::client::at::meta::TableMeta;
use crate::client::at::statement::{
    BeforeImage, Cause, Derived, Dialect, SelectForUpdate, Statement, TableName, UpdateJoin,
};
use crate::client::at::tables::Freshness;
use crate::client::at::undo::check_insertable;
use crate::client::{Error as ClientError, LockQuery};
use crate::proto::Text;

/// A statement on its way through a branch.
pub(super) struct Running<'q, DB: Database> {
    pub(super) sql: SqlStr,
    pub(super) given: Given<'q, DB>,
    pub(super) reuse: Reuse,
}

impl<DB: Database> AtBranch<'_, DB> {
    /// Runs a statement, with what can undo it.
    pub(super) async fn perform(
        &mut self,
        sql: SqlStr,
        given: Given<'_, DB>,
        reuse: Reuse,
    ) -> Result<Answer<DB>, Error> {
        let statement = match self.mode {
            Mode::Outside => Statement::PassThrough,
            Mode::Global(_) | Mode::LockOnly => Statement::recognise(sql.as_str(), DB::DIALECT)?,
        };
        let running = Running { sql, given, reuse };
        if let Statement::Savepoint(savepoint) = statement {
            return self.perform_savepoint(running, savepoint).await;
        }
        self.check_usable()?;
        self.check_session().await?;
        let recorded = self.recorded.items().len();
        self.condition = Condition::Running;
        self.touched = false;
        match self.dispatch(statement, running).await {
            Ok(answer) => {
                self.condition = Condition::Usable;
                Ok(answer)
            }
            Err(error) => {
                self.condition = match &error {
                    _ if self.touched => Condition::Failed(format!(
                        "a statement has run, and what it did could not be recorded: {error}"
                    )),
                    Error::Database(error) => self.condition_after(error).await,
                    _ => Condition::Usable,
                };
                self.recorded.truncate(recorded);
                Err(error)
            }
        }
    }

    async fn perform_savepoint(
        &mut self,
        running: Running<'_, DB>,
        savepoint: crate::client::at::statement::Savepoint,
    ) -> Result<Answer<DB>, Error> {
        use crate::client::at::statement::Savepoint;
        if !matches!(savepoint, Savepoint::RollBackTo(_)) {
            self.check_usable()?;
        }
        self.run_savepoint(running.sql, savepoint).await?;
        Ok(Answer { steps: Vec::new() })
    }

    /// What a failed statement left of the branch.
    pub(super) async fn condition_after(&mut self, error: &sqlx::Error) -> Condition {
        if DB::is_deadlock(error) {
            self.conflict = Some(error.to_string());
        }
        match DB::aftermath(error) {
            Aftermath::Continues => Condition::Usable,
            Aftermath::Ended => Condition::Failed(error.to_string()),
            // A transaction that is still there does not let another begin.
            Aftermath::Unsure => match self.run_text("BEGIN").await {
                Ok(_) => Condition::Failed(error.to_string()),
                Err(_) => Condition::Usable,
            },
        }
    }

    async fn dispatch(
        &mut self,
        statement: Statement,
        running: Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let names: Vec<TableName> = statement.tables().into_iter().cloned().collect();
        let columns = self.resource.options.image_columns;
        let parameters = running.given.parameters();
        match (statement, names.as_slice()) {
            (Statement::SelectForUpdate(select), [name]) => {
                self.select_for_update(&select, name, running).await
            }
            (Statement::Insert(insert), [name]) => self.insert(&insert, name, running).await,
            (Statement::Upsert(upsert), [name]) => self.upsert(&upsert, name, running).await,
            (Statement::Update(update), [name]) => {
                let planned = self.plan(name, |table| update.before(table, columns, parameters));
                let (table, before) = planned.await?;
                self.change(SqlType::Update, name, &table, before, running)
                    .await
            }
            (Statement::Delete(delete), [name]) => {
                let planned = self.plan(name, |table| delete.before(table, parameters));
                let (table, before) = planned.await?;
                self.change(SqlType::Delete, name, &table, before, running)
                    .await
            }
            (Statement::UpdateJoin(update), names) => {
                self.update_join(&update, names, running).await
            }
            _ => {
                let Running { sql, given, reuse } = running;
                let bound = Bound {
                    sql,
                    arguments: given.untouched()?,
                    reuse,
                };
                let answer = DB::run(&mut self.transaction, bound).await;
                answer.map_err(Error::Database)
            }
        }
    }

    /// The description of a table, and what a statement does with it. A column that is not known is looked up once more: the
    /// table may have been altered.
    pub(super) async fn plan<T>(
        &mut self,
        name: &TableName,
        plan: impl Fn(&TableMeta) -> Result<T, crate::client::at::statement::Refused>,
    ) -> Result<(Arc<TableMeta>, T), Error> {
        let resource = Arc::clone(&self.resource);
        let known = resource.table(&mut self.transaction, name, Freshness::Known);
        let table = known.await?;
        match plan(&table) {
            Ok(planned) => Ok((table, planned)),
            Err(refused) if matches!(refused.cause, Cause::UnknownColumn | Cause::Key) => {
                let read = resource.table(&mut self.transaction, name, Freshness::Read);
                let table = read.await?;
                let planned = plan(&table)?;
                Ok((table, planned))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// UPDATE and DELETE of one table.
    async fn change(
        &mut self,
        sql_type: SqlType,
        name: &TableName,
        table: &TableMeta,
        before: BeforeImage,
        running: Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let BeforeImage { columns, query } = before;
        let before = self
            .read_image(table, &columns, query, &running.given)
            .await?;
        if sql_type == SqlType::Delete {
            check_insertable(DB::DIALECT, table, &before)?;
        }
        let answer = self.run_own(&running).await?;
        let found = match answer.rows().count() {
            0 => answer.affected(),
            returned => returned as u64,
        };
        if found != before.rows.len() as u64 {
            return Err(rows_differ(table, &before, found));
        }
        if before.is_empty() {
            return Ok(answer);
        }
        let after = match sql_type {
            SqlType::Delete => Image::empty(table.qualified_name()),
            _ => self.read_after(table, &columns, &before).await?,
        };
        self.record(sql_type, name, table, before, after)?;
        Ok(answer)
    }

    /// UPDATE of joined tables: an item for each that changes.
    async fn update_join(
        &mut self,
        update: &UpdateJoin,
        names: &[TableName],
        running: Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let columns = self.resource.options.image_columns;
        let parameters = running.given.parameters();
        let mut planned = None;
        for freshness in [Freshness::Known, Freshness::Read] {
            let mut tables = Vec::with_capacity(names.len());
            for name in names {
                let resource = Arc::clone(&self.resource);
                let table = resource.table(&mut self.transaction, name, freshness);
                tables.push(table.await?);
            }
            let described: Vec<&TableMeta> = tables.iter().map(Arc::as_ref).collect();
            match update.before(&described, columns, parameters) {
                Ok(images) => {
                    planned = Some((tables, images));
                    break;
                }
                Err(refused)
                    if refused.cause == Cause::UnknownColumn && freshness == Freshness::Known => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        let (tables, images) = planned.unwrap_or_default();
        let mut befores = Vec::with_capacity(images.len());
        for image in images {
            let table = Arc::clone(&tables[image.table]);
            let BeforeImage { columns, query } = image.before;
            let before = self
                .read_image(&table, &columns, query, &running.given)
                .await?;
            befores.push((image.table, table, columns, before));
        }
        let answer = self.run_own(&running).await?;
        for (place, table, columns, before) in befores {
            if before.is_empty() {
                continue;
            }
            let after = self.read_after(&table, &columns, &before).await?;
            self.record(SqlType::UpdateJoin, &names[place], &table, before, after)?;
        }
        Ok(answer)
    }

    /// Runs the user's statement as it is, prepared, and notes that from here on the branch is not what it was.
    pub(super) async fn run_own(&mut self, running: &Running<'_, DB>) -> Result<Answer<DB>, Error> {
        self.run_instead(running.sql.clone(), running).await
    }

    /// Runs another form of the user's statement with the user's parameters.
    pub(super) async fn run_instead(
        &mut self,
        sql: SqlStr,
        running: &Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let bound = Bound {
            sql,
            arguments: Some(running.given.all()?),
            reuse: running.reuse,
        };
        let answer = DB::run(&mut self.transaction, bound).await;
        let answer = answer.map_err(Error::Database)?;
        self.touched = true;
        Ok(answer)
    }

    /// A statement of ours without parameters.
    pub(super) async fn run_text(&mut self, sql: &'static str) -> Result<Answer<DB>, Error> {
        let bound = Bound {
            sql: SqlStr::from_static(sql),
            arguments: None,
            reuse: Reuse::Once,
        };
        let answer = DB::run(&mut self.transaction, bound).await;
        answer.map_err(Error::Database)
    }

    /// The rows of a query that was made out of the user's statement.
    pub(super) async fn read_image(
        &mut self,
        table: &TableMeta,
        columns: &[usize],
        query: Derived,
        given: &Given<'_, DB>,
    ) -> Result<Image, Error> {
        let (sql, arguments) = given.bind(query)?;
        let conn = &mut self.transaction;
        let image = images::read::<DB>(conn, table, columns, sql, arguments).await;
        if matches!(image, Err(Error::Database(_))) {
            // The table may have been altered since it was described.
            self.resource.tables.forget();
        }
        image
    }

    /// The rows of an image as they are now.
    async fn read_after(
        &mut self,
        table: &TableMeta,
        columns: &[usize],
        before: &Image,
    ) -> Result<Image, Error> {
        let keys = keys_of(table, before).map_err(Error::Unusable)?;
        let after = rows_by_key::<DB>(&mut self.transaction, table, columns, &keys).await?;
        if after.rows.len() != before.rows.len() {
            return Err(rows_differ(table, before, after.rows.len() as u64));
        }
        Ok(after)
    }

    /// Keeps what can undo a statement, and the rows that have to be locked for it.
    pub(super) fn record(
        &mut self,
        sql_type: SqlType,
        name: &TableName,
        table: &TableMeta,
        before: Image,
        after: Image,
    ) -> Result<(), Error> {
        let keys = match sql_type {
            SqlType::Delete => self.lock_keys(table, &before)?,
            _ => self.lock_keys(table, &after)?,
        };
        self.recorded.push(Record {
            item: UndoItem {
                sql_type,
                table_name: name.text.clone(),
                before,
                after,
            },
            keys,
        });
        Ok(())
    }

    fn lock_keys(&self, table: &TableMeta, image: &Image) -> Result<TableKeys, Error> {
        let names: Vec<&str> = table.primary_key().map(|c| c.name.as_str()).collect();
        let name = table.qualified_name();
        Ok(TableKeys::of(&name, &names, image, &self.resource.keys)?)
    }

    /// SELECT … FOR UPDATE: the rows are the caller's only when no global transaction holds them (client.md 3.6).
    async fn select_for_update(
        &mut self,
        select: &SelectForUpdate,
        name: &TableName,
        running: Running<'_, DB>,
    ) -> Result<Answer<DB>, Error> {
        let parameters = running.given.parameters();
        let planned = self.plan(name, |table| select.keys(table, parameters));
        let (table, query) = planned.await?;
        let columns = key_columns(&table);
        let retry = self.lock_retry();
        let mut attempt = 0;
        loop {
            self.lock_savepoint("SAVEPOINT seamio_lock_query").await?;
            let bound = Bound {
                sql: running.sql.clone(),
                arguments: Some(running.given.all()?),
                reuse: running.reuse,
            };
            let answer = DB::run(&mut self.transaction, bound).await;
            let answer = answer.map_err(Error::Database)?;
            let image = self
                .read_image(&table, &columns, query.clone(), &running.given)
                .await?;
            if image.is_empty() || self.is_lockable(&table, &image).await? {
                self.lock_savepoint("RELEASE SAVEPOINT seamio_lock_query")
                    .await?;
                return Ok(answer);
            }
            self.lock_savepoint("ROLLBACK TO SAVEPOINT seamio_lock_query")
                .await?;
            self.lock_savepoint("RELEASE SAVEPOINT seamio_lock_query")
                .await?;
            // A unit that can be replayed lets go of its rows while it waits.
            if attempt >= retry.times || self.unit != Unit::Explicit {
                let message = format!("a row of {} is held", table.qualified_name());
                self.conflict = Some(message.clone());
                let xid = self.xid();
                return Err(Error::LockWaitTimeout { xid, message });
            }
            attempt += 1;
            self.resource.coordinator.sleep(retry.interval).await;
        }
    }

    /// A statement about the savepoint that gives the row locks of a read back. MySQL and MariaDB keep them when a transaction
    /// goes back to a savepoint, so there it would be round trips for nothing.
    async fn lock_savepoint(&mut self, sql: &'static str) -> Result<(), Error> {
        match DB::DIALECT {
            Dialect::MySql => Ok(()),
            Dialect::Postgres | Dialect::Sqlite => self.run_text(sql).await.map(|_| ()),
        }
    }

    async fn is_lockable(&mut self, table: &TableMeta, image: &Image) -> Result<bool, Error> {
        let keys = self.lock_keys(table, image)?;
        let lock_key = lock_key::join([&keys]);
        self.ask_lockable(lock_key)
            .await
            .map_err(Error::Coordinator)
    }

    /// Whether no other global transaction holds one of the rows.
    pub(super) async fn ask_lockable(&mut self, lock_key: String) -> Result<bool, ClientError> {
        let query = LockQuery {
            xid: self.xid(),
            resource_id: self.resource.id.clone(),
            lock_key: Text::from(lock_key),
        };
        self.resource.coordinator.is_lockable(query).await
    }
}

pub(super) fn rows_differ(table: &TableMeta, image: &Image, found: u64) -> Error {
    Error::RowsDiffer {
        table: table.qualified_name(),
        image: image.rows.len(),
        found,
    }
}
