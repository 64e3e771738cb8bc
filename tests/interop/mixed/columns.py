"""One table with every type of column that the Java client undoes (client.md 13.2, 13.3), and a branch that changes all of it."""

# Per column: name, type, literal before, literal after. Names say the type, so that a report of a dirty row says it too.
MARIADB = [
    ("c_tinyint", "TINYINT", "-128", "127"),
    ("c_smallint", "SMALLINT", "-32768", "7"),
    ("c_mediumint", "MEDIUMINT", "-8388608", "7"),
    ("c_int", "INT", "-2147483648", "7"),
    ("c_tinyint_unsigned", "TINYINT UNSIGNED", "255", "7"),
    ("c_smallint_unsigned", "SMALLINT UNSIGNED", "65535", "7"),
    ("c_mediumint_unsigned", "MEDIUMINT UNSIGNED", "16777215", "7"),
    ("c_int_unsigned", "INT UNSIGNED", "2147483647", "7"),
    ("c_bigint", "BIGINT", "-9223372036854775808", "9007199254740993"),
    ("c_bigint_unsigned", "BIGINT UNSIGNED", "9223372036854775807", "7"),
    ("c_bool", "BOOL", "TRUE", "FALSE"),
    ("c_decimal", "DECIMAL(12,2)", "1.50", "100"),
    ("c_decimal_fine", "DECIMAL(30,10)", "0.0000000001", "0"),
    ("c_decimal_long", "DECIMAL(38,0)", "99999999999999999999999999999999999999", "-1"),
    ("c_float", "FLOAT", "3.14159", "10000000000"),
    ("c_double", "DOUBLE", "-1e300", "0.1"),
    ("c_bit", "BIT(1)", "b'1'", "b'0'"),
    ("c_bits", "BIT(12)", "b'101010101010'", "b'1'"),
    ("c_char", "CHAR(10)", "'ab'", "'é'"),
    ("c_enum", "ENUM('small','large')", "'small'", "'large'"),
    ("c_set", "SET('a','b','c')", "'a,c'", "'b'"),
    ("c_varchar", "VARCHAR(100)", "'a\"b\\\\c\\n\\t''d 你😀'", "''"),
    ("c_tinytext", "TINYTEXT", "'tiny'", "''"),
    ("c_text", "TEXT", "'line\\nline'", "'text'"),
    ("c_mediumtext", "MEDIUMTEXT", "'medium'", "'x'"),
    ("c_longtext", "LONGTEXT", "REPEAT('long 你', 500)", "'x'"),
    ("c_json", "JSON", "'{\"a\": [1, 2.50, null], \"b\": \"\\\\u4f60\"}'", "'[]'"),
    ("c_binary", "BINARY(4)", "x'00FF0010'", "x'01020304'"),
    ("c_varbinary", "VARBINARY(20)", "x'DEADBEEF00'", "x''"),
    ("c_tinyblob", "TINYBLOB", "x'0001'", "x'FF'"),
    ("c_blob", "BLOB", "x'00017F80FF'", "x'FF'"),
    ("c_mediumblob", "MEDIUMBLOB", "x'00017F80FF'", "x''"),
    ("c_longblob", "LONGBLOB", "REPEAT(x'00017F80FF', 300)", "x'FF'"),
    ("c_date", "DATE", "'2024-02-29'", "'1969-12-31'"),
    ("c_time", "TIME", "'23:59:59'", "'00:00:01'"),
    ("c_datetime", "DATETIME", "'2024-02-29 12:34:56'", "'1969-12-31 23:59:59'"),
    ("c_timestamp", "TIMESTAMP NULL", "'2024-02-29 12:34:56'", "'1999-01-01 00:00:01'"),
    ("c_uuid", "UUID", "'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'"),
    ("c_inet6", "INET6", "'2001:db8::ff00:42:8329'", "'::1'"),
    ("c_point", "POINT", "ST_GeomFromText('POINT(1.5 -2)')", "ST_GeomFromText('POINT(0 0)')"),
]

POSTGRES = [
    ("c_smallint", "SMALLINT", "-32768", "7"),
    ("c_integer", "INTEGER", "-2147483648", "7"),
    ("c_bigint", "BIGINT", "-9223372036854775808", "9007199254740993"),
    ("c_oid", "OID", "4294967295", "7"),
    ("c_numeric", "NUMERIC(12,2)", "1.50", "100"),
    ("c_numeric_free", "NUMERIC", "0.0000000001", "100000000000000000000"),
    ("c_real", "REAL", "3.14159", "1e10"),
    ("c_double", "DOUBLE PRECISION", "-1e300", "0.1"),
    ("c_boolean", "BOOLEAN", "TRUE", "FALSE"),
    ("c_char", "CHAR(10)", "'ab'", "'é'"),
    ("c_varchar", "VARCHAR(100)", "E'a\"b\\\\c\\n\\t''d 你😀'", "''"),
    ("c_text", "TEXT", "repeat('long 你', 500)", "'text'"),
    ("c_name", "NAME", "'a_name'", "'b'"),
    ("c_bytea", "BYTEA", "'\\x00017f80ff'", "'\\x'"),
    ("c_date", "DATE", "'2024-02-29'", "'1969-12-31'"),
    ("c_time", "TIME", "'23:59:59'", "'00:00:01'"),
    ("c_timestamp", "TIMESTAMP", "'2024-02-29 12:34:56.123456'", "'1969-12-31 23:59:59.000001'"),
    ("c_timestamptz", "TIMESTAMPTZ", "'2024-02-29 12:34:56.123456+00'", "'1999-01-01 00:00:01+08'"),
    ("c_uuid", "UUID", "'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'"),
    ("c_interval", "INTERVAL", "'1 year 2 mons 3 days 04:05:06.7'", "'3 hours'"),
    ("c_json", "JSON", "'{\"a\": [1, 2.50, null]}'", "'[]'"),
    ("c_jsonb", "JSONB", "'{\"a\": [1, 2.50, null], \"b\": \"你\"}'", "'[]'"),
    ("c_inet", "INET", "'192.168.0.1/24'", "'::1'"),
    ("c_cidr", "CIDR", "'10.0.0.0/8'", "'::/0'"),
    ("c_macaddr", "MACADDR", "'08:00:2b:01:02:03'", "'00:00:00:00:00:00'"),
    ("c_varbit", "VARBIT(20)", "B'10101'", "B'0'"),
    ("c_int4range", "INT4RANGE", "'[1,5)'", "'empty'"),
    ("c_tstzrange", "TSTZRANGE", "'[2024-01-01 00:00:00+00,)'", "'empty'"),
    ("c_tsvector", "TSVECTOR", "'a fat cat'", "'dog'"),
    ("c_point", "POINT", "'(3,4.5)'", "'(0,0)'"),
    ("c_domain", "positive", "7", "8"),
]

POSTGRES_ARRAYS = [
    ("c_int_array", "INTEGER[]", "'{1,2,NULL}'", "'{}'"),
    ("c_text_array", "TEXT[]", "'{\"a,b\",\"c\\\"d\"}'", "'{x}'"),
]

COLUMNS = {"mariadb": MARIADB, "postgres": POSTGRES}
# What is left out of the table of a release. Connector/J 5.1 binds a BIT(n) as text; it numbers a TINYBLOB and a POINT otherwise than
# Connector/J 8, whose numbers ours writes, so that a branch of ours looks dirty to a Java client with the old driver.
LEFT_OUT = {("java-1.4.2", "mariadb"): {"c_bits", "c_tinyblob", "c_point"}}


def columns(kind, peer):
    left_out = LEFT_OUT.get((peer, kind), set())
    return [column for column in COLUMNS[kind] if column[0] not in left_out]


def table(kind, table_name, chosen):
    """The table, with a row that will be updated, one that will be deleted, and one of nulls."""
    declared = ", ".join(f"{name} {sql_type}" for name, sql_type, _, _ in chosen)
    return (f"CREATE TABLE {table_name} (id BIGINT NOT NULL PRIMARY KEY, {declared});"
            f"{insert(table_name, chosen, 1, 2)}; {insert(table_name, chosen, 2, 2)}; INSERT INTO {table_name} (id) VALUES (4);")


def changes(table_name, chosen):
    """The statements of the branch."""
    updates = ", ".join(f"{name} = {after}" for name, _, _, after in chosen)
    nulls = ", ".join(f"{name} = NULL" for name, _, _, _ in chosen)
    return [f"UPDATE {table_name} SET {updates} WHERE id IN (1, 4)", f"DELETE FROM {table_name} WHERE id = 2",
            insert(table_name, chosen, 3, 3), f"UPDATE {table_name} SET {nulls} WHERE id = 1"]


def insert(table_name, chosen, key, which):
    names = ", ".join(column[0] for column in chosen)
    values = ", ".join(column[which] for column in chosen)
    return f"INSERT INTO {table_name} (id, {names}) VALUES ({key}, {values})"
