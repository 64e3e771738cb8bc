//! Every kind of statement: rolled back it never happened, committed it stays and leaves no undo log.

use crate::database::{Kind, Tried};
use crate::fixture::{Scene, scene};

/// Tables with a counted key, a key of two columns, and names that need quotes.
fn tables(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => {
            "CREATE TABLE stock (id INTEGER PRIMARY KEY, sku TEXT NOT NULL UNIQUE, qty INT NOT NULL DEFAULT 1, note TEXT);
             CREATE TABLE pair (b INT NOT NULL, a TEXT NOT NULL, v INT, PRIMARY KEY (b, a));
             CREATE TABLE \"order\" (\"Desc\" INTEGER PRIMARY KEY, \"a \"\"b\" TEXT);"
        }
        Kind::MariaDb => {
            "CREATE TABLE stock (id BIGINT AUTO_INCREMENT PRIMARY KEY, sku VARCHAR(20) NOT NULL UNIQUE, qty INT NOT NULL DEFAULT 1, note TEXT);
             CREATE TABLE pair (b INT NOT NULL, a VARCHAR(20) NOT NULL, v INT, PRIMARY KEY (b, a));
             CREATE TABLE `order` (`Desc` BIGINT AUTO_INCREMENT PRIMARY KEY, `a \"b` TEXT);"
        }
        Kind::Postgres => {
            "CREATE TABLE stock (id BIGSERIAL PRIMARY KEY, sku VARCHAR(20) NOT NULL UNIQUE, qty INT NOT NULL DEFAULT 1, note TEXT);
             CREATE TABLE pair (b INT NOT NULL, a TEXT NOT NULL, v INT, PRIMARY KEY (b, a));
             CREATE TABLE \"order\" (\"Desc\" BIGSERIAL PRIMARY KEY, \"a \"\"b\" TEXT);"
        }
    }
}

const ROWS: &str = "
    INSERT INTO stock (id, sku, qty) VALUES (101, 'a', 10), (102, 'b', 20), (103, 'c', 30);
    INSERT INTO pair (b, a, v) VALUES (1, 'x', 1), (1, 'y', 2), (2, 'x', 3);";

/// Everything in the tables, a row a line.
async fn everything<DB: Tried>(scene: &Scene<DB>) -> Vec<String> {
    let (text, note) = match DB::KIND {
        Kind::Postgres => ("text", "\"order\""),
        Kind::Sqlite => ("text", "\"order\""),
        Kind::MariaDb => ("char", "`order`"),
    };
    let desc = match DB::KIND {
        Kind::MariaDb => "`Desc`",
        _ => "\"Desc\"",
    };
    let quoted = match DB::KIND {
        Kind::MariaDb => "`a \"b`",
        _ => "\"a \"\"b\"",
    };
    let mut all = Vec::new();
    for sql in [
        format!(
            "SELECT CAST(id AS {text}) || ' ' || sku || ' ' || CAST(qty AS {text}) || ' ' || COALESCE(note, '-') FROM stock ORDER BY id"
        ),
        format!(
            "SELECT CAST(b AS {text}) || ' ' || a || ' ' || COALESCE(CAST(v AS {text}), '-') FROM pair ORDER BY b, a"
        ),
        format!(
            "SELECT CAST({desc} AS {text}) || ' ' || COALESCE({quoted}, '-') FROM {note} ORDER BY {desc}"
        ),
    ] {
        all.extend(scene.rows(&sql).await);
    }
    all
}

/// The statements are undone, and then done.
async fn both_ways<DB: Tried>(statements: &[&str], after: &[&str]) {
    let text = format!("{}{ROWS}", tables(DB::KIND));
    let Some(scene) = scene::<DB>(&text).await else {
        return;
    };
    let before = everything(&scene).await;
    let tx = scene.begin().await;
    scene.branch(&tx, statements).await;
    assert_ne!(everything(&scene).await, before, "{statements:?}");
    scene.roll_back(tx).await;
    assert_eq!(everything(&scene).await, before, "{statements:?}");
    assert!(scene.undo_rows().await.is_empty(), "{statements:?}");

    let tx = scene.begin().await;
    scene.branch(&tx, statements).await;
    scene.commit(tx).await;
    let now = everything(&scene).await;
    for row in after {
        assert!(now.iter().any(|now| now == row), "{row:?} not in {now:?}");
    }
    assert!(scene.undo_rows().await.is_empty(), "{statements:?}");
}

async fn update<DB: Tried>() {
    both_ways::<DB>(
        &[
            "UPDATE stock SET qty = qty - 1, note = 'sold' WHERE id IN (101, 103)",
            "UPDATE stock SET qty = qty * 2 WHERE sku = 'a'",
            "UPDATE pair SET v = NULL WHERE b = 1",
        ],
        &["101 a 18 sold", "103 c 29 sold", "1 x -", "1 y -"],
    )
    .await;
}

async fn delete<DB: Tried>() {
    both_ways::<DB>(
        &[
            "DELETE FROM stock WHERE qty < 25",
            "DELETE FROM pair WHERE a = 'x'",
        ],
        &["103 c 30 -", "1 y 2"],
    )
    .await;
}

async fn insert_with_keys<DB: Tried>() {
    both_ways::<DB>(
        &[
            "INSERT INTO stock (id, sku) VALUES (7, 'seven'), (8, 'eight')",
            "INSERT INTO pair VALUES (9, 'z', 5)",
        ],
        &["7 seven 1 -", "8 eight 1 -", "9 z 5"],
    )
    .await;
}

async fn insert_with_counted_keys<DB: Tried>() {
    let quoted = match DB::KIND {
        Kind::MariaDb => "INSERT INTO `order` (`a \"b`) VALUES ('one'), ('two')",
        _ => "INSERT INTO \"order\" (\"a \"\"b\") VALUES ('one'), ('two')",
    };
    both_ways::<DB>(
        &[
            "INSERT INTO stock (sku, qty) VALUES ('d', 4), ('e', 5), ('f', 6)",
            quoted,
        ],
        &[],
    )
    .await;
}

async fn several_kinds_at_one_row<DB: Tried>() {
    both_ways::<DB>(
        &[
            "UPDATE stock SET qty = 11 WHERE id = 101",
            "UPDATE stock SET qty = 12, note = 'x' WHERE id = 101",
            "DELETE FROM stock WHERE id = 101",
            "INSERT INTO stock (id, sku, qty) VALUES (101, 'again', 1)",
            "UPDATE stock SET qty = 13 WHERE id = 101",
        ],
        &["101 again 13 -"],
    )
    .await;
}

async fn upsert<DB: Tried>() {
    let statement = match DB::KIND {
        Kind::MariaDb => {
            "INSERT INTO stock (sku, qty) VALUES ('a', 1), ('new', 2) ON DUPLICATE KEY UPDATE qty = qty + VALUES(qty)"
        }
        _ => {
            "INSERT INTO stock (sku, qty) VALUES ('a', 1), ('new', 2) ON CONFLICT (sku) DO UPDATE SET qty = stock.qty + excluded.qty"
        }
    };
    both_ways::<DB>(&[statement], &["101 a 11 -"]).await;
}

async fn order_and_limit<DB: Tried>() {
    if DB::KIND == Kind::MariaDb {
        both_ways::<DB>(
            &["UPDATE stock SET qty = 0 ORDER BY id DESC LIMIT 2"],
            &["101 a 10 -", "102 b 0 -", "103 c 0 -"],
        )
        .await;
    }
}

async fn joined<DB: Tried>() {
    if DB::KIND == Kind::MariaDb {
        both_ways::<DB>(
            &["UPDATE stock s JOIN pair p ON p.v = s.qty / 10 SET s.note = p.a, p.v = p.v + 10 WHERE p.b = 1"],
            &["101 a 10 x", "102 b 20 y", "1 x 11", "1 y 12", "2 x 3"],
        )
        .await;
    }
}

/// What the statement returns is the user's, and the key that we ask for besides is not.
async fn returning<DB: Tried>() {
    let text = format!("{}{ROWS}", tables(DB::KIND));
    let Some(scene) = scene::<DB>(&text).await else {
        return;
    };
    let before = everything(&scene).await;
    let tx = scene.begin().await;
    let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
    let insert = "INSERT INTO stock (sku) VALUES ('r') RETURNING sku";
    let insert = seamio::client::at::query::<DB>(insert);
    let rows = branch.fetch_all(insert).await.expect("inserted");
    assert_eq!(rows.len(), 1);
    if DB::KIND != Kind::MariaDb {
        let update = "UPDATE stock SET qty = 3 WHERE id > 101 RETURNING id";
        let update = seamio::client::at::query::<DB>(update);
        let rows = branch.fetch_all(update).await.expect("updated");
        assert!(rows.len() >= 2);
    }
    let delete = "DELETE FROM stock WHERE id = 101 RETURNING sku";
    let delete = seamio::client::at::query::<DB>(delete);
    let rows = branch.fetch_all(delete).await.expect("deleted");
    assert_eq!(rows.len(), 1);
    branch.commit().await.expect("committed");
    scene.roll_back(tx).await;
    assert_eq!(everything(&scene).await, before);
}

on_every_database!(
    update,
    delete,
    insert_with_keys,
    insert_with_counted_keys,
    several_kinds_at_one_row,
    upsert,
    order_and_limit,
    joined,
    returning,
);
