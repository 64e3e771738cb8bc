//! What a database needs before it can be a resource: the undo log's table, with the index that keeps a late phase one out.

use std::sync::Arc;

use sqlx::Pool;

use super::coordination::Coordination;
use super::database::{Database, TableName};
use super::meta::TableMeta;
use super::resource::AtResource;
use super::session::Session;
use super::tables::Tables;
use super::undo_rows;
use super::undo_table::UndoTable;
use super::{AtOptions, Error, MissingUndoTable};
use crate::proto::Text;

/// Looks at the database, and makes a resource of it.
pub(super) async fn open<DB: Database>(
    pool: Pool<DB>,
    options: AtOptions,
    coordinator: Arc<dyn Coordination>,
) -> Result<Arc<AtResource<DB>>, Error> {
    let mut conn = pool.acquire().await.map_err(Error::Database)?;
    let server = DB::server(&mut conn).await.map_err(Error::Database)?;
    let session = Session::of::<DB>(&mut conn).await?;
    let undo = UndoTable::new(DB::DIALECT, &options.undo_table);
    let name = table_name(&options.undo_table);
    let mut found = DB::table(&mut conn, &name).await.map_err(Error::Database)?;
    if found.is_none() && options.missing_undo_table == MissingUndoTable::Create {
        for statement in undo.definition() {
            let made = undo_rows::ask::<DB>(&mut conn, statement).await;
            made.map_err(Error::Database)?;
        }
        found = DB::table(&mut conn, &name).await.map_err(Error::Database)?;
    }
    check(found.as_ref(), &options, &undo)?;
    // Whether it may be read is another question than whether it is there.
    let probed = undo_rows::ask::<DB>(&mut conn, undo.probe()).await;
    probed.map_err(Error::Database)?;
    drop(conn);
    log::info!(
        "resource={} event=at-ready database={:?} version={}",
        options.resource_id,
        DB::DIALECT,
        server.version
    );
    Ok(Arc::new(AtResource {
        id: Text::from(options.resource_id.clone()),
        pool,
        coordinator,
        server,
        session,
        undo,
        tables: Tables::new(options.table_expiry),
        cleanup: Arc::default(),
        keys: options.keys.clone(),
        options,
    }))
}

fn table_name(text: &str) -> TableName {
    match text.split_once('.') {
        Some((schema, name)) => TableName {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        },
        None => TableName {
            schema: None,
            name: text.to_owned(),
        },
    }
}

fn check(table: Option<&TableMeta>, options: &AtOptions, undo: &UndoTable) -> Result<(), Error> {
    let name = &options.undo_table;
    let refuse = |what: String| {
        let ddl = undo.definition().join(";\n");
        Err(Error::NotPrepared(format!(
            "{what}. Create it, or let AtOptions::create_undo_log do it:\n{ddl};"
        )))
    };
    let Some(table) = table else {
        return refuse(format!(
            "in AT mode, the table {name} has to exist, and does not"
        ));
    };
    let columns = [
        "branch_id",
        "xid",
        "context",
        "rollback_info",
        "log_status",
        "log_created",
        "log_modified",
    ];
    if let Some(missing) = columns.iter().find(|column| table.column(column).is_none()) {
        return refuse(format!("the table {name} has no column {missing}"));
    }
    let is_pair = |columns: &[usize]| {
        let mut names: Vec<String> = columns
            .iter()
            .filter_map(|at| table.columns.get(*at))
            .map(|column| column.name.to_ascii_lowercase())
            .collect();
        names.sort_unstable();
        names == ["branch_id", "xid"]
    };
    if !table.keys.iter().any(|key| is_pair(&key.columns)) {
        return refuse(format!(
            "the table {name} has no unique index over (xid, branch_id), without which a rolled back branch could still commit"
        ));
    }
    Ok(())
}
