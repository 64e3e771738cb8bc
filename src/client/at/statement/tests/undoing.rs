//! The statements that undo.

use super::super::{Dialect, undo_delete, undo_insert, undo_update};
use super::{odd, places, stock};
use crate::client::at::meta::ColumnSource;
use Dialect::{MySql, Postgres, Sqlite};

#[test]
fn inserted_rows_are_deleted() {
    let undo = |dialect| undo_insert(dialect, &places()).expect("a key");
    assert_eq!(
        undo(MySql).sql,
        "DELETE FROM `places` WHERE `tenant` = ? AND `region` = ?"
    );
    assert_eq!(
        undo(Postgres).sql,
        "DELETE FROM \"places\" WHERE \"tenant\" = $1 AND \"region\" = $2"
    );
    assert_eq!(
        undo(Sqlite).sql,
        "DELETE FROM `places` WHERE `tenant` = ?1 AND `region` = ?2"
    );
    assert_eq!(undo(Sqlite).columns, [0, 1]);
}

#[test]
fn deleted_rows_are_inserted_without_what_is_computed() {
    let undo = undo_delete(MySql, &places(), &[3, 2, 1, 0]).expect("columns");
    assert_eq!(
        undo.sql,
        "INSERT INTO `places` (`name`, `region`, `tenant`) VALUES (?, ?, ?)"
    );
    assert_eq!(undo.columns, [2, 1, 0]);
    assert!(undo_delete(MySql, &places(), &[3]).is_err());
}

#[test]
fn postgres_is_told_types_and_identities() {
    let mut meta = stock();
    meta.schema = Some("shop".to_owned());
    meta.columns[0].source = ColumnSource::AlwaysIdentity;
    let undo = undo_delete(Postgres, &meta, &[0, 3]).expect("columns");
    assert_eq!(
        undo.sql,
        "INSERT INTO \"shop\".\"stock\" (\"id\", \"price\") OVERRIDING SYSTEM VALUE VALUES ($1::int8, $2::numeric(10,2))"
    );
    let undo = undo_delete(Postgres, &meta, &[1]).expect("columns");
    assert!(!undo.sql.contains("OVERRIDING"), "{}", undo.sql);
    let undo = undo_update(Postgres, &meta, &[0, 2])
        .expect("a key")
        .expect("columns");
    assert_eq!(
        undo.sql,
        "UPDATE \"shop\".\"stock\" SET \"qty\" = $1::int4 WHERE \"id\" = $2::int8"
    );
    assert_eq!(undo.columns, [2, 0]);
}

#[test]
fn updated_rows_get_back_what_the_image_has() {
    let undo = undo_update(MySql, &odd(), &[0, 1, 2])
        .expect("a key")
        .expect("columns");
    assert_eq!(
        undo.sql,
        "UPDATE `Order` SET `a b` = ?, `q``\"x` = ? WHERE `Key` = ?"
    );
    assert_eq!(undo.columns, [1, 2, 0]);
    assert_eq!(undo_update(MySql, &places(), &[0, 1, 3]), Ok(None));
}

#[test]
fn mysql_json_is_text_of_its_character_set() {
    let mut meta = stock();
    meta.columns[4].type_name = "json".to_owned();
    let undo = undo_update(MySql, &meta, &[0, 4])
        .expect("a key")
        .expect("columns");
    assert_eq!(
        undo.sql,
        "UPDATE `stock` SET `note` = CONVERT(? USING utf8mb4) WHERE `id` = ?"
    );
    let undo = undo_update(Sqlite, &meta, &[0, 4])
        .expect("a key")
        .expect("columns");
    assert_eq!(undo.sql, "UPDATE `stock` SET `note` = ?1 WHERE `id` = ?2");
}

#[test]
fn a_table_without_key_is_refused() {
    let mut meta = stock();
    meta.keys.clear();
    for dialect in super::ALL {
        assert!(undo_insert(dialect, &meta).is_err());
        assert!(undo_update(dialect, &meta, &[0]).is_err());
    }
}
