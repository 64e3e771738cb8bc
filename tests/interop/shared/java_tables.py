"""The tables of the Java coordinators for MySQL and MariaDB, column by column as their releases make them."""

SEED_LOCKS = ("AsyncCommitting", "RetryCommitting", "RetryRollbacking", "TxTimeoutCheck")


def tables(version):
    """The statements for the tables of a release: 1.4.2 or 2.0.0."""
    old = version.startswith("1.4")
    made = [f"CREATE TABLE {name} ({', '.join(columns)}) ENGINE=InnoDB DEFAULT CHARSET={'utf8' if old else 'utf8mb4'};"
            for name, columns in (OLD if old else NEW).items()]
    if not old:
        made += [f"INSERT INTO distributed_lock VALUES ('{key}', ' ', 0);" for key in SEED_LOCKS]
    return "\n".join(made)


GLOBAL = (
    "xid VARCHAR(128) NOT NULL", "transaction_id BIGINT", "status TINYINT NOT NULL", "application_id VARCHAR(32)",
    "transaction_service_group VARCHAR(32)", "transaction_name VARCHAR(128)", "timeout INT", "begin_time BIGINT",
    "application_data VARCHAR(2000)", "gmt_create DATETIME", "gmt_modified DATETIME", "PRIMARY KEY (xid)",
    "KEY idx_transaction_id (transaction_id)",
)
BRANCH = (
    "branch_id BIGINT NOT NULL", "xid VARCHAR(128) NOT NULL", "transaction_id BIGINT", "resource_group_id VARCHAR(32)",
    "resource_id VARCHAR(256)", "branch_type VARCHAR(8)", "status TINYINT", "client_id VARCHAR(64)", "application_data VARCHAR(2000)",
    "gmt_create DATETIME(6)", "gmt_modified DATETIME(6)", "PRIMARY KEY (branch_id)", "KEY idx_xid (xid)",
)
LOCK = (
    "row_key VARCHAR(128) NOT NULL", "xid VARCHAR({xid})", "transaction_id BIGINT", "branch_id BIGINT NOT NULL",
    "resource_id VARCHAR(256)", "table_name VARCHAR(32)", "pk VARCHAR(36)", "gmt_create DATETIME", "gmt_modified DATETIME",
    "PRIMARY KEY (row_key)", "KEY idx_branch_id (branch_id)",
)
OLD = {
    "global_table": (*GLOBAL, "KEY idx_gmt_modified_status (gmt_modified, status)"),
    "branch_table": BRANCH,
    "lock_table": tuple(column.format(xid=96) for column in LOCK),
}
NEW = {
    "global_table": (*GLOBAL, "KEY idx_status_gmt_modified (status, gmt_modified)"),
    "branch_table": BRANCH,
    "lock_table": (*(column.format(xid=128) for column in LOCK[:7]), "status TINYINT NOT NULL DEFAULT 0", *LOCK[7:],
                   "KEY idx_status (status)", "KEY idx_xid (xid)"),
    "distributed_lock": ("lock_key CHAR(20) NOT NULL", "lock_value VARCHAR(20) NOT NULL", "expire BIGINT", "PRIMARY KEY (lock_key)"),
}
