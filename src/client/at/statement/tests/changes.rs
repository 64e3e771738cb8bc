//! UPDATE and DELETE: the queries of their images.

use super::super::{Cause, Dialect, ImageColumns, Parameters, Statement, rows_by_key};
use super::{before, odd, picked, places, recognise, stock, whole};
use crate::client::at::meta::ColumnSource;
use Dialect::{MySql, Postgres, Sqlite};

#[test]
fn postgres_keeps_the_numbers_of_its_parameters() {
    let cases = [
        (
            "UPDATE stock SET qty = qty - $1 WHERE id = $2",
            r#"SELECT "id", "qty" FROM stock WHERE (id = $2) FOR UPDATE"#,
        ),
        (
            "update only_stock AS s set qty = $2, note = 'a $9 b' where s.id = $1 and note <> $$ $3 $$ returning *",
            r#"SELECT "id", "note", "qty" FROM only_stock AS s WHERE (s.id = $1 and note <> $$ $3 $$) FOR UPDATE"#,
        ),
        (
            "UPDATE public.stock s SET (qty, note) = ($1, $2)",
            r#"SELECT "id", "note", "qty" FROM public.stock s FOR UPDATE"#,
        ),
        (
            "UPDATE stock SET qty = qty IS DISTINCT FROM $1 WHERE note IS NOT DISTINCT FROM $2 AND id = ANY($3)",
            r#"SELECT "id", "qty" FROM stock WHERE (note IS NOT DISTINCT FROM $2 AND id = ANY($3)) FOR UPDATE"#,
        ),
        (
            "UPDATE stock SET note = (SELECT max(n) FROM other WHERE x = $1) WHERE note ? 'key' -- why?\n AND id = $2;",
            "SELECT \"id\", \"note\" FROM stock WHERE (note ? 'key' -- why?\n AND id = $2) FOR UPDATE",
        ),
        (
            "UPDATE stock SET note[1] = $1, price.amount = 3 WHERE id IN ($2, $3)",
            r#"SELECT "id", "note", "price" FROM stock WHERE (id IN ($2, $3)) FOR UPDATE"#,
        ),
        (
            "DELETE FROM stock AS s WHERE s.qty < $1 OR substring(note FROM 2 FOR 3) = 'x' RETURNING id",
            r#"SELECT "id", "sku", "qty", "price", "note", "changed" FROM stock AS s WHERE (s.qty < $1 OR substring(note FROM 2 FOR 3) = 'x') FOR UPDATE"#,
        ),
    ];
    for (sql, expected) in cases {
        for parameters in [Parameters::Whole, Parameters::Picked] {
            let image = before(sql, Postgres, &stock(), parameters).expect("undoable");
            assert_eq!(image.query, whole(expected), "{sql}");
        }
    }
}

#[test]
fn sqlite_numbers_its_parameters() {
    let cases = [
        (
            "UPDATE stock SET qty = qty - ? WHERE id = ? AND note <> 'a?'",
            "SELECT `id`, `qty` FROM stock WHERE (id = ?2 AND note <> 'a?')",
        ),
        (
            "UPDATE OR ABORT main.stock AS s INDEXED BY ix SET qty = ?2 WHERE s.id = ?1",
            "SELECT `id`, `qty` FROM main.stock AS s INDEXED BY ix WHERE (s.id = ?1)",
        ),
        (
            "UPDATE stock SET qty = $2 WHERE id = $1",
            "SELECT `id`, `qty` FROM stock WHERE (id = ?1)",
        ),
        (
            "UPDATE stock SET qty = 1 WHERE qty > ? RETURNING *, ? ORDER BY id LIMIT ?",
            "SELECT `id`, `qty` FROM stock WHERE (qty > ?1) ORDER BY id LIMIT ?3",
        ),
        (
            "DELETE FROM [stock] NOT INDEXED WHERE note LIKE ? || '%' -- ?",
            "SELECT `id`, `sku`, `qty`, `price`, `note`, `changed` FROM [stock] NOT INDEXED WHERE (note LIKE ?1 || '%')",
        ),
    ];
    for (sql, expected) in cases {
        for parameters in [Parameters::Whole, Parameters::Picked] {
            let image = before(sql, Sqlite, &stock(), parameters).expect("undoable");
            assert_eq!(image.query, whole(expected), "{sql}");
        }
    }
}

#[test]
fn mysql_gives_every_parameter_a_place_or_picks_them() {
    let t = "(? IS NULL OR TRUE)";
    let cases: [(&str, String, &str, &[usize]); 7] = [
        (
            "UPDATE stock SET qty = qty - ? WHERE id = ?",
            format!("SELECT `changed`, `id`, `qty` FROM stock WHERE {t} AND (id = ?) FOR UPDATE"),
            "SELECT `changed`, `id`, `qty` FROM stock WHERE (id = ?) FOR UPDATE",
            &[1],
        ),
        (
            "UPDATE stock SET qty = 5 WHERE id = 7",
            "SELECT `changed`, `id`, `qty` FROM stock WHERE (id = 7) FOR UPDATE".to_owned(),
            "SELECT `changed`, `id`, `qty` FROM stock WHERE (id = 7) FOR UPDATE",
            &[],
        ),
        (
            "UPDATE stock SET qty = ?, note = ?",
            format!(
                "SELECT `changed`, `id`, `note`, `qty` FROM stock WHERE TRUE AND {t} AND {t} FOR UPDATE"
            ),
            "SELECT `changed`, `id`, `note`, `qty` FROM stock FOR UPDATE",
            &[],
        ),
        (
            "UPDATE LOW_PRIORITY stock s USE INDEX (ix, iy) SET s.qty = ? WHERE note = '?' OR note = \"?\" /* ? */ AND s.id > ? ORDER BY s.id DESC LIMIT ?",
            format!(
                "SELECT `changed`, `id`, `qty` FROM stock s USE INDEX (ix, iy) WHERE {t} AND (note = '?' OR note = \"?\" /* ? */ AND s.id > ?) ORDER BY s.id DESC LIMIT ? FOR UPDATE"
            ),
            "SELECT `changed`, `id`, `qty` FROM stock s USE INDEX (ix, iy) WHERE (note = '?' OR note = \"?\" /* ? */ AND s.id > ?) ORDER BY s.id DESC LIMIT ? FOR UPDATE",
            &[1, 2],
        ),
        (
            "DELETE QUICK FROM stock WHERE qty BETWEEN ? AND ? ORDER BY sku LIMIT 3",
            "SELECT `id`, `sku`, `qty`, `price`, `note`, `changed` FROM stock WHERE (qty BETWEEN ? AND ?) ORDER BY sku LIMIT 3 FOR UPDATE".to_owned(),
            "SELECT `id`, `sku`, `qty`, `price`, `note`, `changed` FROM stock WHERE (qty BETWEEN ? AND ?) ORDER BY sku LIMIT 3 FOR UPDATE",
            &[0, 1],
        ),
        (
            "DELETE FROM stock WHERE id = ? RETURNING concat(note, ?)",
            format!(
                "SELECT `id`, `sku`, `qty`, `price`, `note`, `changed` FROM stock WHERE (id = ?) AND {t} FOR UPDATE"
            ),
            "SELECT `id`, `sku`, `qty`, `price`, `note`, `changed` FROM stock WHERE (id = ?) FOR UPDATE",
            &[0],
        ),
        (
            "UPDATE stock SET note := concat(note, ?, x'3f') WHERE note = _utf8mb4'?' || id <=> ?",
            format!(
                "SELECT `changed`, `id`, `note` FROM stock WHERE {t} AND (note = _utf8mb4'?' || id <=> ?) FOR UPDATE"
            ),
            "SELECT `changed`, `id`, `note` FROM stock WHERE (note = _utf8mb4'?' || id <=> ?) FOR UPDATE",
            &[1],
        ),
    ];
    let mut meta = stock();
    meta.columns[5].source = ColumnSource::OnUpdate;
    for (sql, all, some, positions) in cases {
        let image = before(sql, MySql, &meta, Parameters::Whole).expect("undoable");
        assert_eq!(image.query, whole(&all), "{sql}");
        let image = before(sql, MySql, &meta, Parameters::Picked).expect("undoable");
        assert_eq!(image.query, picked(some, positions), "{sql}");
    }
}

#[test]
fn words_that_only_some_databases_reserve_are_names_elsewhere() {
    for dialect in [MySql, Sqlite] {
        let sql = "UPDATE stock SET qty = 1 WHERE offset = 2 AND fetch > stock.limit ORDER BY id";
        let image = before(sql, dialect, &stock(), Parameters::Whole).expect("undoable");
        let part = "WHERE (offset = 2 AND fetch > stock.limit) ORDER BY id";
        assert!(image.query.sql.contains(part), "{}", image.query.sql);
    }
}

#[test]
fn a_list_that_cannot_be_taken_whole_is_said_to_be() {
    let sql = "DELETE FROM stock WHERE id > ? ORDER BY id LIMIT ? RETURNING ?";
    let image = before(sql, MySql, &stock(), Parameters::Whole).expect("undoable");
    assert_eq!(image.query.binding, super::Binding::Picked(vec![0, 1]));
    let refused = image.query.whole().expect_err("not as it is");
    assert_eq!(refused.cause, Cause::Parameters);
}

#[test]
fn odd_names_are_kept_and_quoted() {
    let cases = [
        (
            MySql,
            "UPDATE `Order` SET `SELECT` = 1, `a b` = 2, `q``\"x` = 3 WHERE `Order`.`Key` = 4",
            "SELECT `a b`, `Key`, `q``\"x`, `select` FROM `Order` WHERE (`Order`.`Key` = 4) FOR UPDATE",
        ),
        (
            Postgres,
            "UPDATE \"Order\" SET \"select\" = 1, \"q`\"\"x\" = 3 WHERE \"where\" = 4",
            "SELECT \"Key\", \"q`\"\"x\", \"select\" FROM \"Order\" WHERE (\"where\" = 4) FOR UPDATE",
        ),
        (
            Sqlite,
            "UPDATE [Order] SET größe = 1, [a b] = 2 WHERE \"größe\" > 'WHERE'",
            "SELECT `a b`, `größe`, `Key` FROM [Order] WHERE (\"größe\" > 'WHERE')",
        ),
    ];
    for (dialect, sql, expected) in cases {
        let image = before(sql, dialect, &odd(), Parameters::Whole).expect("undoable");
        // Sorted as Java does it, by the text without its case.
        assert_eq!(image.query, whole(expected), "{sql}");
    }
    let statement = recognise("UPDATE db.`Order` o SET `a b` = 1", MySql);
    let tables = statement.tables();
    assert_eq!(tables[0].text, "db.`Order`");
    assert_eq!(tables[0].schema.as_ref().expect("a schema").value, "db");
}

#[test]
fn all_columns_on_demand() {
    let Statement::Update(update) = recognise("UPDATE stock SET qty = 1", Sqlite) else {
        panic!("an update");
    };
    let image = update.before(&stock(), ImageColumns::All, Parameters::Whole);
    let image = image.expect("undoable");
    assert_eq!(image.columns, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_limit_needs_an_order_that_is_total() {
    let refused = [
        "UPDATE stock SET qty = 1 LIMIT 1",
        "UPDATE stock SET qty = 1 ORDER BY qty LIMIT 1",
        "DELETE FROM stock WHERE qty = 1 ORDER BY id + 1 LIMIT 1",
        "DELETE FROM places ORDER BY tenant LIMIT 1",
    ];
    for sql in refused {
        let meta = if sql.contains("places") {
            places()
        } else {
            stock()
        };
        let refused = before(sql, MySql, &meta, Parameters::Whole).expect_err(sql);
        assert_eq!(refused.cause, Cause::Key);
        assert!(refused.reason.contains("limit"), "{refused}");
    }
    let accepted = [
        "UPDATE stock SET qty = 1 ORDER BY qty, ID LIMIT 1",
        "UPDATE stock SET qty = 1 ORDER BY qty",
        "DELETE FROM stock ORDER BY stock.sku DESC LIMIT 1",
        "DELETE FROM places ORDER BY region, name, `tenant` ASC LIMIT 1",
    ];
    for sql in accepted {
        let meta = if sql.contains("places") {
            places()
        } else {
            stock()
        };
        before(sql, MySql, &meta, Parameters::Whole).expect(sql);
    }
}

#[test]
fn the_key_is_not_written() {
    let cases = [
        (MySql, "UPDATE stock SET qty = 1, `ID` = 2", stock()),
        (Postgres, "UPDATE stock SET (qty, id) = (1, 2)", stock()),
        (Sqlite, "UPDATE places SET region = region", places()),
    ];
    for (dialect, sql, meta) in cases {
        let refused = before(sql, dialect, &meta, Parameters::Whole).expect_err(sql);
        assert_eq!(refused.cause, Cause::Key);
        assert!(refused.reason.contains("primary key"), "{refused}");
    }
}

#[test]
fn tables_that_are_not_as_described_are_refused() {
    let mut meta = stock();
    let refused = before(
        "UPDATE stock SET nope = 1",
        Sqlite,
        &meta,
        Parameters::Whole,
    );
    assert_eq!(refused.expect_err("unknown").cause, Cause::UnknownColumn);
    meta.keys.clear();
    for sql in ["UPDATE stock SET qty = 1", "DELETE FROM stock"] {
        let refused = before(sql, Sqlite, &meta, Parameters::Whole).expect_err("no key");
        assert_eq!(refused.cause, Cause::Key);
        assert!(refused.reason.contains("no primary key"), "{refused}");
    }
}

#[test]
fn joined_tables_have_an_image_each() {
    let sql = "UPDATE stock AS s INNER JOIN places p ON LEFT(p.name, 3) = ? AND p.tenant = s.id, x.stock \
               SET s.qty = ?, p.name = ?, sum = 3 WHERE s.id = ? OR TRUE";
    let Statement::UpdateJoin(update) = recognise(sql, MySql) else {
        panic!("a join");
    };
    let statement = recognise(sql, MySql);
    let tables: Vec<&str> = statement.tables().iter().map(|t| t.text.as_str()).collect();
    assert_eq!(tables, ["stock", "places", "x.stock"]);
    let (stock, places) = (stock(), places());
    let metas = [&stock, &places, &stock];
    let images = update
        .before(&metas, ImageColumns::Written, Parameters::Whole)
        .expect("undoable");
    let from =
        "FROM stock AS s INNER JOIN places p ON LEFT(p.name, 3) = ? AND p.tenant = s.id, x.stock";
    let t = "(? IS NULL OR TRUE)";
    assert_eq!(images.len(), 2);
    assert_eq!(images[0].table, 0);
    assert_eq!(
        images[0].before.query,
        whole(&format!(
            "SELECT DISTINCT `s`.`id`, `s`.`qty` {from} WHERE {t} AND {t} AND (s.id = ? OR TRUE) AND `s`.`id` IS NOT NULL FOR UPDATE"
        ))
    );
    assert_eq!(images[1].table, 1);
    assert_eq!(
        images[1].before.query,
        whole(&format!(
            "SELECT DISTINCT `p`.`name`, `p`.`region`, `p`.`sum`, `p`.`tenant` {from} WHERE {t} AND {t} AND (s.id = ? OR TRUE) AND `p`.`tenant` IS NOT NULL FOR UPDATE"
        ))
    );
    let images = update
        .before(&metas, ImageColumns::Written, Parameters::Picked)
        .expect("undoable");
    assert_eq!(
        images[0].before.query.binding,
        super::Binding::Picked(vec![0, 3])
    );
}

#[test]
fn a_column_of_a_join_must_be_of_one_table() {
    let Statement::UpdateJoin(update) = recognise(
        "UPDATE stock a LEFT JOIN stock b USING (id) SET qty = 1",
        MySql,
    ) else {
        panic!("a join");
    };
    let stock = stock();
    let refused = update
        .before(&[&stock, &stock], ImageColumns::Written, Parameters::Whole)
        .expect_err("either");
    assert!(refused.reason.contains("several tables"), "{refused}");
    let Statement::UpdateJoin(update) = recognise(
        "UPDATE stock a JOIN db.stock b SET db.b.qty = 1, c.qty = 2",
        MySql,
    ) else {
        panic!("a join");
    };
    let refused = update
        .before(&[&stock, &stock], ImageColumns::Written, Parameters::Whole)
        .expect_err("no c");
    assert_eq!(refused.cause, Cause::UnknownColumn);
}

#[test]
fn rows_are_read_by_key_in_pieces() {
    let (stock, places) = (stock(), places());
    let one = |dialect| {
        rows_by_key(dialect, &stock, &[0, 2], 2)
            .expect("a key")
            .remove(0)
            .sql
    };
    assert_eq!(
        one(MySql),
        "SELECT `id`, `qty` FROM `stock` WHERE `id` IN (?, ?) FOR UPDATE"
    );
    assert_eq!(
        one(Postgres),
        "SELECT \"id\", \"qty\" FROM \"stock\" WHERE \"id\" IN ($1::int8, $2::int8) FOR UPDATE"
    );
    assert_eq!(
        one(Sqlite),
        "SELECT `id`, `qty` FROM `stock` WHERE `id` IN (?1, ?2)"
    );
    let two = |dialect| {
        rows_by_key(dialect, &places, &[2], 2)
            .expect("a key")
            .remove(0)
            .sql
    };
    assert_eq!(
        two(MySql),
        "SELECT `name` FROM `places` WHERE (`tenant`, `region`) IN ((?, ?), (?, ?)) FOR UPDATE"
    );
    assert_eq!(
        two(Sqlite),
        "SELECT `name` FROM `places` WHERE (`tenant`, `region`) IN (VALUES (?1, ?2), (?3, ?4))"
    );
    let queries = rows_by_key(MySql, &stock, &[0], 2001).expect("a key");
    let keys: Vec<_> = queries.iter().map(|q| q.keys.clone()).collect();
    assert_eq!(keys, [0..1000, 1000..2000, 2000..2001]);
    assert_eq!(queries[1].sql.matches('?').count(), 1000);
    assert!(
        rows_by_key(MySql, &stock, &[0], 0)
            .expect("a key")
            .is_empty()
    );
}
