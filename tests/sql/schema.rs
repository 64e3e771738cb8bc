//! The tables: what is made, what is completed and left alone, and what a start is told about them.

use seamio::tc::store::sql::DatabaseUrl;
use seamio::tc::store::sql::schema::{
    Applied, Error, RowKeys, Schema, apply_to, inspect_at, script,
};

use crate::place::{Kind, Place};

const TABLES: &[&str] = &[
    "global_table",
    "branch_table",
    "lock_table",
    "distributed_lock",
    "vgroup_table",
    "seamio_node",
    "seamio_writer",
    "seamio_decision",
    "seamio_ended",
    "seamio_share",
];

on_every_database!(
    an_empty_database_gets_every_table,
    applying_twice_changes_nothing,
    the_printed_script_makes_the_same,
    a_schema_of_java_2_is_completed_and_its_rows_stay,
    a_schema_of_java_1_4_is_upgraded_and_its_rows_stay,
    rows_are_told_apart_by_case_and_blanks,
    what_is_missing_is_told,
    wrong_types_are_told,
    what_cannot_be_filled_or_kept_apart_is_told,
    a_table_of_something_else_is_left_alone,
    a_missing_index_is_a_warning,
    widths_are_what_the_columns_have,
    a_view_is_no_table,
);

fn apply(place: &Place) -> Applied {
    apply_to(&place.database()).expect("applied")
}

fn inspect(place: &Place) -> Schema {
    inspect_at(&place.database()).expect("fit")
}

/// What is wrong, one sentence each.
fn problems(place: &Place) -> Vec<String> {
    match inspect_at(&place.database()) {
        Err(Error::Unfit(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("problems expected, got {other:?}"),
    }
}

fn lines(applied: &Applied) -> Vec<String> {
    applied.tables.iter().map(ToString::to_string).collect()
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// One of the sentences has all these parts.
#[track_caller]
fn says(sentences: &[String], parts: &[&str]) {
    let has = |sentence: &String| parts.iter().all(|part| sentence.contains(part));
    assert!(sentences.iter().any(has), "{parts:?} not in {sentences:#?}");
}

fn an_empty_database_gets_every_table(place: &Place) {
    says(
        &problems(place),
        &["lock_table is missing", "seamio schema apply"],
    );
    assert_eq!(problems(place).len(), 9, "vgroup_table is Java's alone");
    let applied = apply(place);
    let made: Vec<_> = TABLES
        .iter()
        .map(|table| format!("{table}: made"))
        .collect();
    assert_eq!(lines(&applied), made);
    assert!(applied.left.is_empty(), "{:?}", applied.left);
    assert_eq!(texts(&applied.warnings), Vec::<String>::new());
    let schema = inspect(place);
    assert_eq!(texts(&schema.warnings), Vec::<String>::new());
    assert_eq!(schema.row_keys, RowKeys::Exact);
    let loops = place.column("SELECT lock_key FROM distributed_lock ORDER BY lock_key");
    let all = [
        "AsyncCommitting",
        "RetryCommitting",
        "RetryRollbacking",
        "TxTimeoutCheck",
    ];
    assert_eq!(loops, all);
}

fn applying_twice_changes_nothing(place: &Place) {
    apply(place);
    place.run("UPDATE distributed_lock SET lock_value = '10.0.0.1:8091', expire = 7 WHERE lock_key = 'TxTimeoutCheck'");
    let again = apply(place);
    let nothing: Vec<_> = TABLES
        .iter()
        .map(|table| format!("{table}: nothing to do"))
        .collect();
    assert_eq!(lines(&again), nothing);
    let kept =
        place.column("SELECT expire FROM distributed_lock WHERE lock_key = 'TxTimeoutCheck'");
    assert_eq!(kept, ["7"], "a lock that somebody holds stays held");
    place.run("DELETE FROM distributed_lock WHERE lock_key = 'TxTimeoutCheck'");
    says(&lines(&apply(place)), &["distributed_lock: 1 rows added"]);
}

fn the_printed_script_makes_the_same(place: &Place) {
    place.run(&script(&place.url).expect("a script"));
    let schema = inspect(place);
    assert_eq!(texts(&schema.warnings), Vec::<String>::new());
    assert!(
        apply(place)
            .tables
            .iter()
            .all(|table| table.changes.is_empty())
    );
}

fn live_rows(place: &Place) {
    place.run(
        "INSERT INTO global_table (xid, transaction_id, status, application_id) VALUES ('10.0.0.1:8091:42', 42, 1, 'a'); \
         INSERT INTO branch_table (branch_id, xid, transaction_id, branch_type) VALUES (43, '10.0.0.1:8091:42', 42, 'AT'); \
         INSERT INTO lock_table (row_key, xid, transaction_id, branch_id) VALUES ('r^^^t^^^1', '10.0.0.1:8091:42', 42, 43)",
    );
}

fn live_rows_are_there(place: &Place) {
    let rows = place.column(
        "SELECT application_id FROM global_table WHERE xid = '10.0.0.1:8091:42' UNION ALL \
         SELECT branch_type FROM branch_table WHERE xid = '10.0.0.1:8091:42' UNION ALL \
         SELECT row_key FROM lock_table WHERE xid = '10.0.0.1:8091:42' AND status = 0",
    );
    assert_eq!(rows, ["a", "AT", "r^^^t^^^1"]);
}

fn a_schema_of_java_2_is_completed_and_its_rows_stay(place: &Place) {
    // There is no schema of Java's for SQLite; PostgreSQL's does.
    place.run(place.choose(
        include_str!("java_2_0_mysql.sql"),
        include_str!("java_2_0_postgres.sql"),
    ));
    live_rows(place);
    assert_eq!(problems(place).len(), 5, "only ours are missing");
    let applied = apply(place);
    assert!(applied.left.is_empty(), "{:?}", applied.left);
    for java in &TABLES[..4] {
        says(&lines(&applied), &[&format!("{java}: nothing to do")]);
    }
    for ours in &TABLES[4..] {
        says(&lines(&applied), &[&format!("{ours}: made")]);
    }
    live_rows_are_there(place);
    let schema = inspect(place);
    says(
        &texts(&schema.warnings),
        &["lock_table", "row_key (128)", "table_name (32)", "pk (36)"],
    );
    assert_eq!(schema.limits.row_key.characters, 128);
    assert_eq!(schema.limits.lock_value.characters, 20);
    let folded = place.kind == Kind::MySql;
    assert_eq!(schema.row_keys == RowKeys::Folded, folded);
    if folded {
        says(
            &texts(&schema.warnings),
            &[
                "row_key of lock_table",
                "utf8mb4_general_ci",
                "in case",
                "ALTER TABLE",
            ],
        );
    }
}

fn a_schema_of_java_1_4_is_upgraded_and_its_rows_stay(place: &Place) {
    place.run(place.choose(
        include_str!("java_1_4_mysql.sql"),
        include_str!("java_1_4_postgres.sql"),
    ));
    live_rows(place);
    says(
        &problems(place),
        &[
            "status of lock_table is missing",
            "1.4",
            "seamio schema apply",
        ],
    );
    says(&problems(place), &["distributed_lock is missing"]);
    let applied = apply(place);
    let of = |table: &str| {
        let line = lines(&applied)
            .into_iter()
            .find(|line| line.starts_with(table));
        line.expect(table)
    };
    let named = |table: &str, columns: &str| match place.kind {
        Kind::MySql => format!("index idx_{columns} added"),
        _ => format!("index idx_{table}_{columns} added"),
    };
    let global = format!(
        "global_table: {}",
        named("global_table", "status_gmt_modified")
    );
    assert_eq!(of("global_table"), global);
    assert_eq!(of("branch_table"), "branch_table: nothing to do");
    let (status, xid) = (named("lock_table", "status"), named("lock_table", "xid"));
    assert_eq!(
        of("lock_table"),
        format!("lock_table: column status added, {status}, {xid}")
    );
    assert_eq!(of("distributed_lock"), "distributed_lock: made");
    assert!(applied.left.is_empty(), "{:?}", applied.left);
    live_rows_are_there(place);
    let schema = inspect(place);
    if place.kind == Kind::MySql {
        says(
            &texts(&schema.warnings),
            &["texts of global_table", "four bytes", "utf8mb4"],
        );
        assert!(
            !schema.limits.transaction_name.fits("😀") && schema.limits.transaction_name.fits("ä")
        );
    }
    assert!(
        apply(place)
            .tables
            .iter()
            .all(|table| table.changes.is_empty())
    );
}

fn rows_are_told_apart_by_case_and_blanks(place: &Place) {
    apply(place);
    for key in ["r^^^t^^^a", "r^^^t^^^A", "r^^^t^^^a ", "r^^^t^^^á"] {
        place.run(&format!(
            "INSERT INTO lock_table (row_key, branch_id) VALUES ('{key}', 1)"
        ));
        place.run(&format!(
            "INSERT INTO seamio_share (row_key, branch_id, xid) VALUES ('{key}', 1, 'x')"
        ));
    }
    let found = place.column("SELECT COUNT(*) FROM lock_table WHERE row_key = 'r^^^t^^^a'");
    assert_eq!(found, ["1"]);
}

fn what_is_missing_is_told(place: &Place) {
    apply(place);
    place.run(
        "ALTER TABLE global_table DROP COLUMN application_data; DROP TABLE seamio_ended; DROP TABLE vgroup_table",
    );
    let told = problems(place);
    assert_eq!(told.len(), 2, "{told:?}");
    says(
        &told,
        &[
            "application_data of global_table is missing",
            "seamio schema apply",
        ],
    );
    says(&told, &["seamio_ended is missing"]);
    says(
        &lines(&apply(place)),
        &["global_table: column application_data added"],
    );
    inspect(place);
}

fn wrong_types_are_told(place: &Place) {
    apply(place);
    let narrow = place.choose("INT", "INTEGER");
    let moment = place.choose("DATETIME", "TIMESTAMP");
    place.run(&format!(
        "DROP TABLE lock_table; DROP TABLE seamio_writer; \
         CREATE TABLE lock_table (row_key VARCHAR(128) NOT NULL PRIMARY KEY, xid {moment}, transaction_id BIGINT, \
         branch_id {narrow} NOT NULL, resource_id VARCHAR(256), table_name VARCHAR(32), pk BIGINT, \
         status SMALLINT NOT NULL DEFAULT 0, gmt_create VARCHAR(20), gmt_modified {moment}); \
         CREATE TABLE seamio_writer (node_id VARCHAR(4) NOT NULL, writer SMALLINT NOT NULL, batch BIGINT NOT NULL, \
         PRIMARY KEY (node_id, writer))"
    ));
    let told = problems(place);
    says(
        &told,
        &[
            "xid of lock_table has the type",
            "change it to VARCHAR(128)",
        ],
    );
    says(&told, &["pk of lock_table has the type"]);
    says(&told, &["gmt_create of lock_table has the type"]);
    says(
        &told,
        &["node_id of seamio_writer has the type", "SMALLINT"],
    );
    if place.kind != Kind::Sqlite {
        says(&told, &["branch_id of lock_table has the type", "BIGINT"]);
    }
    let left = apply(place);
    assert_eq!(texts(&left.left), told, "a type is never changed");
    assert!(
        left.tables
            .iter()
            .all(|t| t.changes.iter().all(|c| c.starts_with("index")))
    );
}

fn what_cannot_be_filled_or_kept_apart_is_told(place: &Place) {
    apply(place);
    place.run(
        "DROP TABLE branch_table; DROP TABLE seamio_node; \
         CREATE TABLE branch_table (branch_id BIGINT NOT NULL, xid VARCHAR(128) NOT NULL, transaction_id BIGINT, \
         resource_group_id VARCHAR(32), resource_id VARCHAR(256), branch_type VARCHAR(8), status SMALLINT, \
         client_id VARCHAR(64), application_data VARCHAR(2000), gmt_create TIMESTAMP NULL, gmt_modified TIMESTAMP NULL); \
         CREATE TABLE seamio_node (node_id SMALLINT NOT NULL PRIMARY KEY, token VARCHAR(40) NOT NULL, \
         address VARCHAR(255) NOT NULL, lease_until BIGINT NOT NULL, heir SMALLINT, ids_until BIGINT NOT NULL, \
         region VARCHAR(9) NOT NULL, note VARCHAR(9) NOT NULL DEFAULT 'n', remark VARCHAR(9))",
    );
    let told = problems(place);
    says(
        &told,
        &[
            "branch_table lets two rows have the same branch_id",
            "ADD PRIMARY KEY (branch_id)",
        ],
    );
    says(
        &told,
        &["column region of seamio_node is unknown", "default"],
    );
    assert_eq!(told.len(), 2, "{told:?}");
}

fn a_table_of_something_else_is_left_alone(place: &Place) {
    place.run("CREATE TABLE lock_table (id BIGINT NOT NULL PRIMARY KEY, owner VARCHAR(20))");
    place.run("INSERT INTO lock_table VALUES (1, 'somebody')");
    let applied = apply(place);
    says(
        &texts(&applied.left),
        &["row_key of lock_table is missing", "something else"],
    );
    says(&lines(&applied), &["lock_table: nothing to do"]);
    let row = [Some("1".to_owned()), Some("somebody".to_owned())];
    assert_eq!(place.run("SELECT * FROM lock_table"), [row]);
}

fn a_missing_index_is_a_warning(place: &Place) {
    apply(place);
    let xid = place.choose("idx_xid ON lock_table", "idx_lock_table_xid");
    place.run(&format!("DROP INDEX {xid}"));
    says(
        &texts(&inspect(place).warnings),
        &["lock_table has no index on (xid)", "seamio schema apply"],
    );
    // The name is taken by an index that helps nobody.
    let other = place.choose(
        "CREATE INDEX idx_xid ON lock_table (pk)",
        "CREATE INDEX idx_lock_table_xid ON lock_table (pk)",
    );
    place.run(other);
    says(
        &lines(&apply(place)),
        &["lock_table: index", "xid_seamio added"],
    );
    assert_eq!(texts(&inspect(place).warnings), Vec::<String>::new());
    // The version 1.5 has an index that begins with it.
    let drop = place.choose("idx_xid_seamio ON lock_table", "idx_lock_table_xid_seamio");
    place.run(&format!(
        "DROP INDEX {drop}; CREATE INDEX idx_both ON lock_table (xid, branch_id)"
    ));
    assert_eq!(texts(&inspect(place).warnings), Vec::<String>::new());
}

fn widths_are_what_the_columns_have(place: &Place) {
    apply(place);
    let limits = inspect(place).limits;
    assert_eq!(limits.xid.characters, 128);
    assert_eq!(limits.application_id.characters, 128);
    assert_eq!(limits.transaction_service_group.characters, 128);
    assert_eq!(limits.resource_id.characters, 512);
    assert_eq!(limits.row_key.characters, 512);
    assert_eq!(limits.pk.characters, 512);
    assert_eq!(limits.table_name.characters, 128);
    assert_eq!(limits.client_id.characters, 255);
    assert_eq!(limits.lock_value.characters, 64);
    assert!(limits.application_data.fits(&"d".repeat(4 << 20)));
    // What fits is kept whole, to the last character.
    let long = "😀".repeat(limits.pk.characters);
    assert!(limits.pk.fits(&long) && !limits.pk.fits(&format!("{long}x")));
    place.run(&format!(
        "INSERT INTO lock_table (row_key, branch_id, pk) VALUES ('{long}', 1, '{long}')"
    ));
    place.run(&format!(
        "INSERT INTO seamio_share (row_key, branch_id, xid) VALUES ('{long}', 1, 'x')"
    ));
    assert_eq!(place.column("SELECT pk FROM lock_table"), [long.as_str()]);
    let data = "😀".repeat(1 << 20);
    place.run(&format!(
        "INSERT INTO branch_table (branch_id, xid, resource_id, application_data) VALUES (1, 'x', '{long}', '{data}')"
    ));
    let kept = place.column("SELECT application_data FROM branch_table");
    assert!(kept == [data], "application data is kept whole");
}

fn a_view_is_no_table(place: &Place) {
    apply(place);
    place.run("DROP TABLE seamio_ended; CREATE VIEW seamio_ended AS SELECT * FROM seamio_decision");
    says(&problems(place), &["seamio_ended", "is a view"]);
    says(&texts(&apply(place).left), &["seamio_ended", "is a view"]);
}

/// A database on one kind of server, or nothing when it is not there.
fn only_on(kind: Kind, scenario: fn(&Place)) {
    Place::open(kind).iter().for_each(scenario);
}

#[test]
fn mysql_engines_without_transactions_are_told() {
    only_on(Kind::MySql, |place| {
        apply(place);
        place.run(
            "ALTER TABLE branch_table ENGINE = MyISAM; ALTER TABLE seamio_writer ENGINE = MEMORY",
        );
        let told = problems(place);
        says(
            &told,
            &["branch_table has the engine MyISAM", "ENGINE = InnoDB"],
        );
        says(&told, &["seamio_writer has the engine MEMORY"]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(texts(&apply(place).left), told);
    });
}

#[test]
fn mysql_collations_that_join_our_keys_are_told_and_javas_are_a_warning() {
    only_on(Kind::MySql, |place| {
        apply(place);
        let to = |table: &str, collation: &str| {
            place.run(&format!(
                "ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}"
            ));
        };
        to("lock_table", "utf8mb4_bin");
        let schema = inspect(place);
        assert_eq!(schema.row_keys, RowKeys::Folded);
        says(
            &texts(&schema.warnings),
            &[
                "row_key of lock_table",
                "utf8mb4_bin",
                "in blanks at the end",
            ],
        );
        to("seamio_share", "utf8mb4_general_ci");
        says(
            &problems(place),
            &[
                "row_key of seamio_share",
                "utf8mb4_general_ci",
                "CONVERT TO",
            ],
        );
        // As the sentences say.
        to("lock_table", "utf8mb4_nopad_bin");
        to("seamio_share", "utf8mb4_nopad_bin");
        assert_eq!(texts(&inspect(place).warnings), Vec::<String>::new());
    });
}

#[test]
fn mysql_keys_of_javas_tables_and_ours_compare_with_each_other() {
    only_on(Kind::MySql, |place| {
        place.run(include_str!("java_1_4_mysql.sql"));
        apply(place);
        live_rows(place);
        place.run("INSERT INTO seamio_share VALUES ('r^^^t^^^1', 44, '10.0.0.1:8091:42')");
        let joined = place.column(
            "SELECT s.branch_id FROM seamio_share s JOIN lock_table l ON l.row_key = s.row_key AND l.xid = s.xid",
        );
        assert_eq!(joined, ["44"]);
    });
}

#[test]
fn postgres_tables_that_a_crash_empties_are_told() {
    only_on(Kind::Postgres, |place| {
        apply(place);
        place.run("ALTER TABLE seamio_ended SET UNLOGGED");
        says(
            &problems(place),
            &["seamio_ended is unlogged", "SET LOGGED"],
        );
    });
}

#[test]
fn postgres_read_only_databases_are_told() {
    only_on(Kind::Postgres, |place| {
        let name = place.column("SELECT current_database()").remove(0);
        place.run(&format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on"
        ));
        let told = problems(place);
        says(&told, &["takes no writes", "default_transaction_read_only"]);
        assert_eq!(told.len(), 1, "{told:?}");
        let applied = apply(place);
        assert!(applied.tables.is_empty());
        assert_eq!(texts(&applied.left), told);
    });
}

#[test]
fn postgres_tables_are_found_in_the_schema_of_the_search_path() {
    only_on(Kind::Postgres, |place| {
        // Tables of the same names that are not meant.
        place.run("CREATE SCHEMA seata; CREATE TABLE global_table (id BIGINT)");
        let url = format!("{}?options[search_path]=seata", place.url);
        let url = DatabaseUrl::parse(&url).expect("a URL");
        assert!(apply_to(&url).expect("applied").left.is_empty());
        inspect_at(&url).expect("fit");
        let schemas =
            place.column("SELECT schemaname FROM pg_tables WHERE tablename = 'lock_table'");
        assert_eq!(schemas, ["seata"]);
        let nowhere = format!("{}?options[search_path]=gone", place.url);
        let nowhere = DatabaseUrl::parse(&nowhere).expect("a URL");
        let left = apply_to(&nowhere).expect("asked").left;
        says(&texts(&left), &["search path names no schema"]);
    });
}

// On MySQL the user of the tests may not grant.
#[test]
fn postgres_tables_that_may_not_be_written_are_told() {
    only_on(Kind::Postgres, |place| {
        apply(place);
        let user = format!("reader_{}", std::process::id());
        let (host, database) = place.url.rsplit_once('/').expect("a database");
        let server = host.rsplit_once('@').expect("a user").1;
        place.run(&format!(
            "CREATE USER {user} PASSWORD 'r'; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}"
        ));
        let url = format!("postgres://{user}:r@{server}/{database}");
        let url = DatabaseUrl::parse(&url).expect("a URL");
        let before = inspect_at(&url);
        place.run(&format!(
            "REVOKE INSERT ON ALL TABLES IN SCHEMA public FROM {user}"
        ));
        let after = inspect_at(&url);
        place.run(&format!("DROP OWNED BY {user}; DROP USER {user}"));
        before.expect("who may write all of them needs no more");
        let Err(Error::Unfit(told)) = after else {
            panic!("{after:?}");
        };
        assert_eq!(told.len(), 9, "{told:?}");
        says(&texts(&told), &["lock_table cannot be written", "grant"]);
    });
}

#[test]
fn two_that_apply_at_once_make_every_table_once() {
    for kind in [Kind::Sqlite, Kind::MySql, Kind::Postgres] {
        only_on(kind, |place| {
            std::thread::scope(|scope| {
                let both = [(), ()].map(|()| scope.spawn(|| apply(place)));
                for one in both {
                    let applied = one.join().expect("applied");
                    assert!(applied.left.is_empty(), "{:?}", applied.left);
                }
            });
            inspect(place);
            assert_eq!(place.column("SELECT COUNT(*) FROM distributed_lock"), ["4"]);
        });
    }
}

#[test]
fn a_server_that_is_not_there_is_no_schema_that_is_wrong() {
    for url in [
        "mysql://u:secret@127.0.0.1:1/d",
        "postgres://u:secret@127.0.0.1:1/d",
    ] {
        let url = DatabaseUrl::parse(url).expect("a URL");
        let Err(error @ Error::Database(_)) = apply_to(&url) else {
            panic!("nobody listens there");
        };
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

fn seamio(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_seamio"))
        .args(arguments)
        .output()
        .expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_command_prints_and_applies_with_its_exit_codes() {
    for (arguments, code) in [
        (["schema", "print", "oracle"], 2),
        (["schema", "apply", "oracle://u:secret@h/d"], 2),
        (["schema", "apply", "mysql://u:secret@h"], 2),
        (["schema", "apply", "mysql://u:secret@127.0.0.1:1/d"], 4),
    ] {
        let (exit, stdout, stderr) = seamio(&arguments);
        assert_eq!(
            (exit, stdout.as_str()),
            (Some(code), ""),
            "{arguments:?}: {stderr}"
        );
        assert!(
            stderr.starts_with("seamio: ") && !stderr.contains("secret"),
            "{stderr}"
        );
    }
    let (exit, stdout, _) = seamio(&["schema", "print", "postgres"]);
    assert_eq!(
        (exit, stdout),
        (Some(0), script("postgres").expect("known"))
    );
    for kind in [Kind::Sqlite, Kind::MySql, Kind::Postgres] {
        only_on(kind, |place| {
            let made: String = TABLES
                .iter()
                .map(|table| format!("{table}: made\n"))
                .collect();
            let applied = seamio(&["schema", "apply", &place.url]);
            assert_eq!(applied, (Some(0), made, String::new()));
            place.run("DROP TABLE seamio_node; CREATE TABLE seamio_node (id BIGINT)");
            let (exit, stdout, stderr) = seamio(&["schema", "apply", &place.url]);
            assert_eq!(exit, Some(1), "{stderr}");
            assert_eq!(stdout.lines().count(), TABLES.len());
            assert!(
                stderr.contains("token of seamio_node is missing"),
                "{stderr}"
            );
        });
    }
}
