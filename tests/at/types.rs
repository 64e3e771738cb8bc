//! Every type of column: what a DELETE and an UPDATE took is back to the bit.

use seamio::client::at::{AtOptions, Error};

use crate::database::{Kind, Tried};
use crate::fixture::{Scene, run, scene, scene_with};

/// Columns with values that a careless reader loses: `name type | value | value`.
const MARIADB: &str = "
    c_tinyint tinyint | -128 | 127
    c_utinyint tinyint unsigned | 255 | 0
    c_bool tinyint(1) | 1 | -7
    c_small smallint | -32768 | 32767
    c_medium mediumint unsigned | 16777215 | 0
    c_uint int unsigned | 4294967295 | 1
    c_big bigint | -9223372036854775808 | 9223372036854775807
    c_ubig bigint unsigned | 18446744073709551615 | 0
    c_dec1 decimal(30,10) | 12345678901234567890.0123456789 | 0.0000000000
    c_dec2 decimal(5,2) | 1.50 | -0.01
    c_f float | 3.14159 | -1.5e30
    c_d double | 0.1 | -1.0e300
    c_bit1 bit(1) | b'1' | b'0'
    c_bit9 bit(9) | b'101010101' | b'0'
    c_c char(5) | 'ab' | ''
    c_vc varchar(50) | 'Grüße 🦀 \\'quoted\\'' | ' trailing '
    c_la varchar(20) character set latin1 | 'Grüße' | ''
    c_tt tinytext | 'x' | ''
    c_lt longtext | 'long' | 'a,b;c:d_e'
    c_en enum('red','green') | 'green' | 'red'
    c_st set('a','b','c') | 'a,c' | ''
    c_js json | '{\"a\": [1, 2.50]}' | 'null'
    c_bin binary(4) | x'00ff' | x'01020304'
    c_vbin varbinary(10) | x'' | x'ff00ff'
    c_tb tinyblob | x'00' | x''
    c_bl longblob | x'deadbeef' | x''
    c_da date | '2024-02-29' | '1000-01-01'
    c_dt datetime | '9999-12-31 23:59:59' | '2024-01-01 00:00:00'
    c_dt6 datetime(6) | '2024-02-29 12:34:56.123456' | '1969-12-31 23:59:59.000001'
    c_ts6 timestamp(6) null | '2024-02-29 12:34:56.123456' | '1970-01-01 00:00:01.000001'
    c_ti time | '838:59:59' | '-00:00:01'
    c_ti6 time(6) | '-12:34:56.000001' | '00:00:00.5'
    c_ye year | 1999 | 2155
    c_uu uuid | '123e4567-e89b-12d3-a456-426614174000' | '00000000-0000-0000-0000-000000000000'
    c_i6 inet6 | '2001:db8::ff00:42:8329' | '::'
    c_pt point | ST_GeomFromText('POINT(1.5 -2)') | ST_GeomFromText('POINT(0 0)')
";

const POSTGRES: &str = "
    small smallint | -32768 | 32767
    int4 integer | -2147483648 | 2147483647
    big bigint | -9223372036854775808 | 9223372036854775807
    oi oid | 4294967295 | 0
    num numeric | 12345678901234567890.0123456789000 | 'NaN'
    num2 numeric(10,2) | 1.50 | 'NaN'
    re real | 3.14159 | 'Infinity'
    dp double precision | 0.1 | '-Infinity'
    mo money | 1234.56 | -0.01
    bo boolean | true | false
    ch char(5) | 'ab' | ''
    vc varchar(50) | 'Grüße 🦀 ''quoted''' | ' trailing '
    tx text | 'a,b;c:d_e' | ''
    na name | 'name' | ''
    by bytea | '\\x00ff' | '\\x'
    da date | '2024-02-29' | 'infinity'
    da2 date | '0044-03-15 BC' | '-infinity'
    ti time | '23:59:59.999999' | '24:00:00'
    tz timetz | '12:34:56.000001+05:30' | '00:00:00-11'
    ts timestamp | '2024-02-29 12:34:56.123456' | 'infinity'
    tsz timestamptz | '1969-12-31 23:59:59.000001+08' | '-infinity'
    iv interval | '1 year 2 mons -3 days 04:05:06.789' | '-00:00:00.000001'
    uu uuid | '123e4567-e89b-12d3-a456-426614174000' | '00000000-0000-0000-0000-000000000000'
    js json | '{\"a\":  [1, 2.50]}' | 'null'
    jb jsonb | '{\"a\": [1, 2.50]}' | '{}'
    b1 bit(1) | B'1' | B'0'
    b9 bit(9) | B'101010101' | B'000000000'
    vb bit varying(20) | B'1010' | B''
    ip inet | '192.168.1.1/24' | '::1'
    ci cidr | '10.0.0.0/8' | '::/0'
    ma macaddr | '08:00:2b:01:02:03' | '00:00:00:00:00:00'
    ir int4range | '[1,10)' | 'empty'
    tv tsvector | 'a fat cat' | ''
    po point | '(1.5,-2)' | '(0,0)'
    xm xml | '<a>1</a>' | '<b/>'
    en mood | 'happy' | 'Not So'
    dm positive | 5 | 7
    co pair | '(1,\"a b\")' | '(,)'
    ia integer[] | '{1,NULL,3}' | '{}'
    ma2 integer[][] | '{{1,2},{3,4}}' | '{}'
    ta text[] | '{\"a,b\",NULL,\"\"}' | '{x}'
    na2 numeric[] | '{1.50,2}' | '{}'
    ea mood[] | '{happy}' | '{}'
";

const SQLITE: &str = "
    i INTEGER | 9223372036854775807 | -9223372036854775808
    r REAL | 0.1 | -1.0e300
    r2 REAL | 1 | 9e999
    t TEXT | 'Grüße 🦀 ''quoted''' | ''
    t2 TEXT | 12 | 'a,b;c:d_e'
    b BLOB | x'00ff' | x''
    n NUMERIC | 1.5 | 'text in a number'
    n2 DECIMAL(10,2) | '1.50' | 3
    untyped | 7 | '7'
    d DATETIME | '2024-02-29 12:34:56.123' | 1709210096
    bo BOOLEAN | 1 | 0
";

const MORE: &str = "CREATE TYPE mood AS ENUM ('happy', 'Not So'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
    CREATE TYPE pair AS (a int, b text);";

struct Column<'a> {
    name: &'a str,
    definition: &'a str,
    values: [&'a str; 2],
}

fn columns(kind: Kind) -> Vec<Column<'static>> {
    let text = match kind {
        Kind::MariaDb => MARIADB,
        Kind::Postgres => POSTGRES,
        Kind::Sqlite => SQLITE,
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut parts = line.split(" | ").map(str::trim);
            let head = parts.next().expect("a name");
            let (name, definition) = head.split_once(' ').unwrap_or((head, ""));
            Column {
                name,
                definition,
                values: [parts.next(), parts.next()].map(|value| value.expect("a value")),
            }
        })
        .collect()
}

/// The values of a column in a form that shows every bit.
async fn contents<DB: Tried>(scene: &Scene<DB>, column: &str) -> Vec<String> {
    let shown = match DB::KIND {
        Kind::MariaDb => format!("HEX({column})"),
        Kind::Postgres => format!("encode(convert_to({column}::text, 'UTF8'), 'hex')"),
        Kind::Sqlite => format!("typeof({column}) || quote({column})"),
    };
    let id = match DB::KIND {
        Kind::MariaDb => "char",
        _ => "text",
    };
    let sql =
        format!("SELECT CAST(id AS {id}) || ':' || COALESCE({shown}, 'NULL') FROM t ORDER BY id");
    scene.rows(&sql).await
}

/// A table with a column of each type, and rows with its values and with NULL.
async fn filled<DB: Tried>(change: fn(AtOptions) -> AtOptions) -> Option<Scene<DB>> {
    let columns = columns(DB::KIND);
    let definitions: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.definition))
        .collect();
    let more = if DB::KIND == Kind::Postgres { MORE } else { "" };
    let table = format!(
        "{more} CREATE TABLE t (id INT PRIMARY KEY, {});",
        definitions.join(", ")
    );
    let scene = scene_with::<DB>(&table, change).await?;
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    for which in 0..2 {
        let values: Vec<&str> = columns.iter().map(|column| column.values[which]).collect();
        let insert = format!(
            "INSERT INTO t (id, {}) VALUES ({which}, {})",
            names.join(", "),
            values.join(", ")
        );
        scene.outside(&insert).await;
    }
    scene.outside("INSERT INTO t (id) VALUES (2)").await;
    Some(scene)
}

async fn every_type_comes_back<DB: Tried>() {
    let Some(scene) = filled::<DB>(AtOptions::only_seamio).await else {
        return;
    };
    let columns = columns(DB::KIND);
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let mut before = Vec::new();
    for name in &names {
        before.push(contents(&scene, name).await);
    }
    let nulls: Vec<String> = names.iter().map(|name| format!("{name} = NULL")).collect();
    let update = format!("UPDATE t SET {}", nulls.join(", "));
    for statement in [update.as_str(), "DELETE FROM t"] {
        let tx = scene.begin().await;
        scene.branch(&tx, &[statement]).await;
        scene.roll_back(tx).await;
        for (name, before) in names.iter().zip(&before) {
            assert_eq!(&contents(&scene, name).await, before, "{name}, {statement}");
        }
        assert!(scene.undo_rows().await.is_empty());
    }
}

async fn in_our_own_layout<DB: Tried>() {
    every_type_comes_back::<DB>().await;
}

/// Java's classes cannot hold everything: what is missing stands beside them, and is not refused.
async fn in_the_layout_of_java<DB: Tried>() {
    let Some(scene) = filled::<DB>(|options| options).await else {
        return;
    };
    let mut refused = Vec::new();
    for Column { name, .. } in columns(DB::KIND) {
        let before = contents(&scene, name).await;
        let tx = scene.begin().await;
        let mut branch = scene.at.begin_pooled(&tx).await.expect("a branch");
        let update = format!("UPDATE t SET {name} = NULL");
        run(&mut branch, &update).await.expect(name);
        match branch.commit().await {
            Ok(()) => {}
            Err(Error::NotRecordable { column, .. }) => refused.push(column),
            Err(error) => panic!("{name}: {error}"),
        }
        scene.roll_back(tx).await;
        assert_eq!(contents(&scene, name).await, before, "{name}");
    }
    assert!(refused.is_empty(), "{refused:?}");
}

/// A zero date, which sqlx takes for NULL.
async fn zero_dates<DB: Tried>() {
    if DB::KIND != Kind::MariaDb {
        return;
    }
    let Some(scene) = scene::<DB>(
        "CREATE TABLE t (id INT PRIMARY KEY, d DATE NOT NULL, dt DATETIME NOT NULL);
         INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00 00:00:00');",
    )
    .await
    else {
        return;
    };
    let sql = "SELECT CONCAT(d, ' ', dt) FROM t";
    let before = scene.rows(sql).await;
    let tx = scene.begin().await;
    scene.branch(&tx, &["DELETE FROM t"]).await;
    scene.roll_back(tx).await;
    assert_eq!(scene.rows(sql).await, before);
}

/// Columns that only the database writes.
async fn computed_columns<DB: Tried>() {
    let table = match DB::KIND {
        Kind::MariaDb => {
            "CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT, w INT AS (v * 2) STORED, \
             u TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6));
             INSERT INTO t (id, v, u) VALUES (1, 10, '2020-01-01 00:00:00');"
        }
        Kind::Postgres => {
            "CREATE TABLE t (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v INT, w INT GENERATED ALWAYS AS (v * 2) STORED, u INT);
             INSERT INTO t (v) VALUES (10);"
        }
        Kind::Sqlite => {
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, w INT AS (v * 2), u INT); INSERT INTO t (id, v) VALUES (1, 10);"
        }
    };
    let Some(scene) = scene::<DB>(table).await else {
        return;
    };
    let sql = match DB::KIND {
        Kind::MariaDb => "SELECT CONCAT_WS(' ', id, v, w, u) FROM t ORDER BY id",
        _ => {
            "SELECT CAST(id AS text) || ' ' || CAST(v AS text) || ' ' || CAST(w AS text) FROM t ORDER BY id"
        }
    };
    let before = scene.rows(sql).await;
    for statements in [
        ["UPDATE t SET v = 11", "UPDATE t SET v = 12"],
        [
            "INSERT INTO t (v) VALUES (5), (6)",
            "DELETE FROM t WHERE v = 10",
        ],
    ] {
        let tx = scene.begin().await;
        scene.branch(&tx, &statements).await;
        assert_ne!(scene.rows(sql).await, before);
        scene.roll_back(tx).await;
        assert_eq!(scene.rows(sql).await, before, "{statements:?}");
    }
}

on_every_database!(
    in_our_own_layout,
    in_the_layout_of_java,
    zero_dates,
    computed_columns,
);
