//! INSERT and upserts: keys of rows, and the queries of their images.

use super::super::{
    Binding, Cause, Dialect, ImageColumns, Insert, InsertPlan, InsertedKeys, Marker, MayCount,
    Parameters, Refused, Returning, Skips, Statement, Upsert, UpsertPlan,
};
use super::{picked, places, recognise, stock, table, unique, whole};
use crate::client::at::meta::{ColumnSource, Nullability, TableMeta};
use Dialect::{MySql, Postgres, Sqlite};

fn insert(sql: &str, dialect: Dialect) -> Insert {
    match recognise(sql, dialect) {
        Statement::Insert(insert) => insert,
        other => panic!("{sql} is taken for {other:?}"),
    }
}

fn upsert(sql: &str, dialect: Dialect) -> Upsert {
    match recognise(sql, dialect) {
        Statement::Upsert(upsert) => upsert,
        other => panic!("{sql} is taken for {other:?}"),
    }
}

fn plan(sql: &str, dialect: Dialect, returning: Returning) -> Result<InsertPlan, Refused> {
    let meta = if sql.contains("places") {
        places()
    } else {
        stock()
    };
    insert(sql, dialect).plan(&meta, returning, ImageColumns::Written, Parameters::Whole)
}

/// What MySQL is asked for the rows that were inserted.
fn keys(sql: &str) -> InsertedKeys {
    let plan = plan(sql, MySql, Returning::Unsupported);
    plan.unwrap_or_else(|refused| panic!("{sql}: {refused}"))
        .keys
}

fn probe(sql: &str, dialect: Dialect, meta: &TableMeta) -> UpsertPlan {
    let plan = upsert(sql, dialect).plan(meta, Parameters::Whole);
    plan.unwrap_or_else(|refused| panic!("{sql}: {refused}"))
}

#[test]
fn databases_that_can_return_the_key() {
    let cases = [
        (
            Postgres,
            "INSERT INTO stock (sku) VALUES ($1), ($2)",
            "INSERT INTO stock (sku) VALUES ($1), ($2) RETURNING \"id\" AS \"seamio_key_1\"",
            1,
        ),
        (
            Postgres,
            "INSERT INTO stock AS s (sku) OVERRIDING USER VALUE VALUES (lower($1)) RETURNING s.*, now(); -- done",
            "INSERT INTO stock AS s (sku) OVERRIDING USER VALUE VALUES (lower($1)) RETURNING s.*, now(), \"id\" AS \"seamio_key_1\"",
            1,
        ),
        (
            Sqlite,
            "INSERT INTO stock DEFAULT VALUES",
            "INSERT INTO stock DEFAULT VALUES RETURNING `id` AS `seamio_key_1`",
            1,
        ),
        (
            Sqlite,
            "INSERT OR ABORT INTO places VALUES (?, (SELECT 1), '?')",
            "INSERT OR ABORT INTO places VALUES (?, (SELECT 1), '?') RETURNING `tenant` AS `seamio_key_1`, `region` AS `seamio_key_2`",
            2,
        ),
        (
            MySql,
            "INSERT HIGH_PRIORITY stock SET sku = UUID(), stock.qty = ?",
            "INSERT HIGH_PRIORITY stock SET sku = UUID(), stock.qty = ? RETURNING `id` AS `seamio_key_1`",
            1,
        ),
    ];
    for (dialect, sql, expected, keys) in cases {
        let plan = plan(sql, dialect, Returning::Supported).expect("undoable");
        let InsertedKeys::Returned(returned) = plan.keys else {
            panic!("{sql}: {plan:?}");
        };
        assert_eq!(returned.sql, expected);
        assert_eq!((returned.keys, returned.marker), (keys, Marker::None));
    }
}

#[test]
fn columns_of_the_image() {
    let columns = |sql| {
        let plan = plan(sql, Postgres, Returning::Supported).expect("undoable");
        plan.columns
    };
    // By name: id, note, sku.
    assert_eq!(
        columns("INSERT INTO stock (sku, NOTE) VALUES (1, 2)"),
        [0, 4, 1]
    );
    assert_eq!(
        columns("INSERT INTO stock VALUES (1, 2)"),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(columns("INSERT INTO stock DEFAULT VALUES"), [0]);
}

#[test]
fn mysql_reads_given_keys_back() {
    let t = "(? IS NULL OR TRUE)";
    assert_eq!(
        keys("INSERT INTO stock (sku, id, qty) VALUES (?, ?, ?), (?, ?, ?)"),
        InsertedKeys::ReadBack {
            query: whole(&format!(
                "SELECT `id`, `qty`, `sku` FROM `stock` WHERE ({t} AND `id` = ?) OR ({t} AND {t} AND `id` = ? AND {t}) FOR UPDATE"
            )),
            counted: MayCount::Yes,
        }
    );
    assert_eq!(
        keys("INSERT INTO stock (id, sku) VALUES (7, 'a'), (-8, 'b')"),
        InsertedKeys::ReadBack {
            query: whole(
                "SELECT `id`, `sku` FROM `stock` WHERE (`id` = 7) OR (`id` = -8) FOR UPDATE"
            ),
            counted: MayCount::No,
        }
    );
    assert_eq!(
        keys("INSERT INTO places (region, name, tenant) VALUES (?, ?, ?)"),
        InsertedKeys::ReadBack {
            query: whole(&format!(
                "SELECT `name`, `region`, `tenant` FROM `places` WHERE (`region` = ? AND {t} AND `tenant` = ?) FOR UPDATE"
            )),
            counted: MayCount::No,
        }
    );
    assert_eq!(
        keys("INSERT stock SET sku = 'a', id = ?"),
        InsertedKeys::ReadBack {
            query: whole("SELECT `id`, `sku` FROM `stock` WHERE (`id` = ?) FOR UPDATE"),
            counted: MayCount::Yes,
        }
    );
}

#[test]
fn mysql_counts_where_nothing_is_given() {
    for sql in [
        "INSERT INTO stock (sku) VALUES (?), (?)",
        "INSERT INTO stock (id, sku) VALUES (NULL, 'a'), (NULL, 'b')",
        "INSERT INTO stock (id, sku) VALUES (0, 'a'), (DEFAULT, 'b')",
        "INSERT INTO stock (id, sku) VALUES ('0', 'a')",
        "INSERT INTO stock () VALUES ()",
        "INSERT INTO stock VALUES ()",
        "INSERT INTO stock VALUE (NULL, 1, 2, 3, 4, 5)",
    ] {
        assert_eq!(keys(sql), InsertedKeys::Counted, "{sql}");
    }
    let insert = insert("INSERT INTO stock (sku) VALUES (?), ('b'), (?)", MySql);
    let counted =
        |first, step, parameters| insert.counted(&stock(), &[0, 1], first, step, parameters);
    assert_eq!(
        counted(7, 2, Parameters::Picked),
        Ok(picked(
            "SELECT `id`, `sku` FROM `stock` WHERE (`id` IN (7, 9, 11)) FOR UPDATE",
            &[]
        ))
    );
    assert_eq!(
        counted(7, 2, Parameters::Whole),
        Ok(whole(
            "SELECT `id`, `sku` FROM `stock` WHERE (`id` IN (7, 9, 11) AND (? IS NULL OR TRUE) AND (? IS NULL OR TRUE)) FOR UPDATE"
        ))
    );
    assert_eq!(
        counted(0, 1, Parameters::Whole)
            .expect_err("no number")
            .cause,
        Cause::Key
    );
    assert_eq!(
        counted(u64::MAX, 1, Parameters::Whole)
            .expect_err("too far")
            .cause,
        Cause::Key
    );
}

#[test]
fn a_counted_part_of_a_key() {
    let mut meta = table("lines", &["order_id", "line", "what"], &[0, 1]);
    meta.columns[1].source = ColumnSource::AutoIncrement;
    let insert = insert(
        "INSERT INTO `lines` (what, order_id) VALUES (?, ?), (?, 5)",
        MySql,
    );
    let plan = insert.plan(
        &meta,
        Returning::Unsupported,
        ImageColumns::Written,
        Parameters::Whole,
    );
    assert_eq!(plan.expect("undoable").keys, InsertedKeys::Counted);
    let t = "(? IS NULL OR TRUE)";
    assert_eq!(
        insert.counted(&meta, &[2], 3, 1, Parameters::Whole),
        Ok(whole(&format!(
            // The second row has no parameter; the last one of the list finds its place behind the first row.
            "SELECT `what` FROM `lines` WHERE (`order_id` = 5 AND `line` = 4) OR (`line` = 3 AND {t} AND `order_id` = ? AND {t}) FOR UPDATE"
        )))
    );
}

#[test]
fn keys_that_cannot_be_told_are_refused() {
    let cases = [
        ("INSERT INTO stock (id) VALUES (UUID())", "expression"),
        ("INSERT INTO stock (id) VALUES (5 + 5)", "expression"),
        (
            "INSERT INTO stock (id) VALUES (1), (NULL)",
            "different ways",
        ),
        ("INSERT INTO places (tenant) VALUES (1)", "no value"),
        (
            "INSERT INTO places (tenant, region) VALUES (1, DEFAULT)",
            "no value",
        ),
        (
            "INSERT INTO places (tenant, region) VALUES (1, NULL)",
            "no value",
        ),
    ];
    for (sql, reason) in cases {
        let refused = plan(sql, MySql, Returning::Unsupported).expect_err(sql);
        assert_eq!(refused.cause, Cause::Key, "{sql}");
        assert!(refused.reason.contains(reason), "{sql}: {refused}");
        plan(sql, MySql, Returning::Supported).expect("the database says it");
    }
    let refused = plan(
        "INSERT INTO stock VALUES (1, 2)",
        MySql,
        Returning::Supported,
    );
    assert_eq!(refused.expect_err("too few").cause, Cause::UnknownColumn);
    let refused = plan(
        "INSERT INTO stock (nope) VALUES (1)",
        MySql,
        Returning::Supported,
    );
    assert_eq!(refused.expect_err("unknown").cause, Cause::UnknownColumn);
    assert!(
        plan(
            "INSERT INTO stock (id, qty) VALUES (1)",
            MySql,
            Returning::Supported
        )
        .is_err()
    );
}

#[test]
fn conflicts_that_are_left_out_return_nothing() {
    for (dialect, sql) in [
        (
            Postgres,
            "INSERT INTO stock (id) VALUES (1) ON CONFLICT DO NOTHING",
        ),
        (
            Postgres,
            "INSERT INTO stock (id) VALUES (1) ON CONFLICT (lower(sku)) WHERE qty > 1 DO NOTHING RETURNING qty",
        ),
        (
            Sqlite,
            "INSERT INTO stock (id) VALUES (1) ON CONFLICT (id) DO NOTHING",
        ),
    ] {
        let plan = plan(sql, dialect, Returning::Supported).expect("undoable");
        assert_eq!(plan.skips, Skips::Conflicts, "{sql}");
        let InsertedKeys::Returned(returned) = plan.keys else {
            panic!("{sql}");
        };
        assert!(returned.sql.contains("RETURNING"), "{}", returned.sql);
    }
}

#[test]
fn mysql_looks_for_every_unique_key_that_is_given() {
    let t = "(? IS NULL OR TRUE)";
    let list = "SELECT `id`, `sku`, `qty`, `price`, `note`, `changed` FROM `stock` WHERE";
    let cases = [
        (
            "INSERT INTO stock (sku, qty) VALUES (?, ?), ('b', 3) ON DUPLICATE KEY UPDATE qty = qty + ?, note = VALUES(note)",
            whole(&format!(
                "{list} (`sku` = 'b') OR (`sku` = ? AND {t} AND {t}) FOR UPDATE"
            )),
        ),
        (
            "INSERT INTO stock (id, sku) VALUES (?, ?) AS new ON DUPLICATE KEY UPDATE qty = new.qty",
            whole(&format!("{list} (`id` = ?) OR (`sku` = ?) FOR UPDATE")),
        ),
        (
            "INSERT INTO stock (id, sku) VALUES (NULL, 'a') ON DUPLICATE KEY UPDATE qty = 1",
            whole(&format!("{list} (`sku` = 'a') FOR UPDATE")),
        ),
        (
            "INSERT INTO stock SET id = 7, sku = ? ON DUPLICATE KEY UPDATE stock.qty = 1",
            whole(&format!("{list} (`id` = 7) OR (`sku` = ?) FOR UPDATE")),
        ),
    ];
    for (sql, expected) in cases {
        let plan = probe(sql, MySql, &stock());
        assert_eq!(plan.probe, expected, "{sql}");
        assert_eq!(plan.returned, None);
    }
}

#[test]
fn keys_that_share_a_column_need_values_that_can_be_bound_again() {
    let mut meta = stock();
    unique(&mut meta, "ux_both", &[1, 2]);
    let sql = "INSERT INTO stock (sku, qty) VALUES (?, ?) ON DUPLICATE KEY UPDATE note = 1";
    let plan = probe(sql, MySql, &meta);
    assert_eq!(plan.probe.binding, Binding::Picked(vec![0, 0, 1]));
    assert_eq!(
        plan.probe.clone().whole().expect_err("twice").cause,
        Cause::Parameters
    );
    let marks = plan.probe.sql.matches('?').count();
    assert_eq!(marks, 3, "{}", plan.probe.sql);
}

#[test]
fn defaults_are_values_of_unique_columns() {
    let mut meta = table("t", &["id", "a", "b"], &[0]);
    meta.columns[1].default = Some("x".to_owned());
    meta.columns[2].nullability = Nullability::NotNull;
    unique(&mut meta, "ux", &[1, 2]);
    let sql = "INSERT INTO t (id, b) VALUES (1, 2) ON DUPLICATE KEY UPDATE a = 1";
    assert_eq!(
        probe(sql, MySql, &meta).probe.sql,
        "SELECT `id`, `a`, `b` FROM `t` WHERE (`id` = 1) OR (`a` = DEFAULT(`a`) AND `b` = 2) FOR UPDATE"
    );
    let sql = "INSERT INTO t (b, id) VALUES (2, 1) ON CONFLICT (b, a) DO UPDATE SET a = 1";
    meta.columns[1].default = Some("'x'::text".to_owned());
    assert_eq!(
        probe(sql, Postgres, &meta).probe.sql,
        "SELECT \"id\", \"a\", \"b\" FROM \"t\" WHERE (\"a\" = 'x'::text AND \"b\" = 2) FOR UPDATE"
    );
    meta.columns[1].default = Some("now()".to_owned());
    for dialect in [Postgres, Sqlite] {
        let refused = upsert(sql, dialect).plan(&meta, Parameters::Whole);
        assert!(refused.expect_err("computed").reason.contains("default"));
    }
    meta.columns[1].default = None;
    let refused = upsert(sql, Postgres).plan(&meta, Parameters::Whole);
    assert!(refused.expect_err("NULL").reason.contains("no unique key"));
}

#[test]
fn on_conflict_looks_for_the_key_it_names() {
    let sql = "INSERT INTO stock AS s (id, sku) VALUES ($1, $2::text) ON CONFLICT (SKU) \
               DO UPDATE SET qty = s.qty + $3 WHERE s.qty > 0 RETURNING s.qty";
    let plan = probe(sql, Postgres, &stock());
    assert_eq!(
        plan.probe,
        whole(
            "SELECT \"id\", \"sku\", \"qty\", \"price\", \"note\", \"changed\" FROM \"stock\" WHERE (\"sku\" = ($2::text)::varchar(20)) FOR UPDATE"
        )
    );
    let returned = plan.returned.expect("postgres");
    assert_eq!(returned.marker, Marker::IsNew);
    assert_eq!(
        returned.sql,
        format!("{sql}, \"id\" AS \"seamio_key_1\", (xmax = 0) AS \"seamio_is_new\"")
    );
    let sql = "INSERT INTO stock (id, sku) VALUES (1, 'a') ON CONFLICT ON CONSTRAINT Ux_Sku DO UPDATE SET qty = 1";
    assert!(
        probe(sql, Postgres, &stock())
            .probe
            .sql
            .contains("(\"sku\" = ('a')::varchar(20))")
    );
    let sql = "INSERT INTO stock (id, sku) VALUES (?, ?) ON CONFLICT (ID) DO UPDATE SET qty = excluded.qty";
    let plan = probe(sql, Sqlite, &stock());
    assert!(
        plan.probe.sql.ends_with("WHERE (`id` = ?1)"),
        "{}",
        plan.probe.sql
    );
    assert_eq!(plan.returned, None);
}

#[test]
fn upserts_that_are_refused() {
    let cases = [
        (
            MySql,
            "INSERT INTO stock (id) VALUES (1) ON DUPLICATE KEY UPDATE id = 2",
            "primary key",
        ),
        (
            MySql,
            "INSERT INTO stock (qty, sku) VALUES (1, NULL) ON DUPLICATE KEY UPDATE qty = 2",
            "no unique key",
        ),
        (
            MySql,
            "INSERT INTO stock (qty) VALUES (1) ON DUPLICATE KEY UPDATE qty = 2",
            "not given",
        ),
        (
            MySql,
            "INSERT INTO stock (sku) VALUES (lower('A')) ON DUPLICATE KEY UPDATE qty = 2",
            "expression",
        ),
        (
            Postgres,
            "INSERT INTO stock (id) VALUES (1) ON CONFLICT (qty) DO UPDATE SET note = 2",
            "no unique key",
        ),
        (
            Postgres,
            "INSERT INTO stock (id) VALUES (1) ON CONFLICT ON CONSTRAINT nope DO UPDATE SET note = 2",
            "no unique key",
        ),
        (
            Postgres,
            "INSERT INTO stock (sku) VALUES ('a') ON CONFLICT (id) DO UPDATE SET note = 2",
            "no unique key",
        ),
        (
            Sqlite,
            "INSERT INTO stock (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
            "primary key",
        ),
    ];
    for (dialect, sql, reason) in cases {
        let refused = upsert(sql, dialect)
            .plan(&stock(), Parameters::Whole)
            .expect_err(sql);
        assert_eq!(refused.cause, Cause::Key);
        assert!(refused.reason.contains(reason), "{sql}: {refused}");
    }
}
