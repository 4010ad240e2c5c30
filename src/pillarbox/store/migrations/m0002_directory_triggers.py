"""The database itself notes that the directory changed, whoever changes it: a worker, `user-cli`, or `sqlite3` by hand.

Workers remember routes and logins until the directory's version grows. The triggers are on columns that mail does not
write, so that they cost a delivery nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

_USERS = (
    "username, password_hash, email, email_domain, enabled, role, quota_limit, attachment_max_size, "
    "attachment_max_total, scram_sha256, credentials_version"
)
# Table, and the columns that are the directory's ("" for all of them).
_WATCHED = (("users", f" OF {_USERS}"), ("domains", ""), ("aliases", ""))
_NOTE = "UPDATE store_counters SET value = value + 1 WHERE id = 3"
# A password hash that was put there by hand: old logins end, and the SCRAM keys are those of the old password.
_BY_HAND = (
    "new.credentials_version = old.credentials_version AND new.password_hash <> old.password_hash "
    "AND new.scram_sha256 = old.scram_sha256"
)


def up(words: Mapping[str, str]) -> list[str]:
    return _up_sqlite() if words["blob"] == "BLOB" else _up_postgresql()


def down(words: Mapping[str, str]) -> list[str]:
    if words["blob"] == "BLOB":
        changed = [f"DROP TRIGGER {table}_{event}" for table, _ in _WATCHED for event in ("insert", "delete", "update")]
        return ["DROP TRIGGER users_password", *changed]
    changed = [f"DROP TRIGGER {table}_changed ON {table}" for table, _ in _WATCHED]
    functions = ["DROP FUNCTION note_password()", "DROP FUNCTION note_directory()"]
    return ["DROP TRIGGER users_password ON users", *changed, *functions]


def _up_sqlite() -> list[str]:
    statements = [
        f"CREATE TRIGGER {table}_{event.lower()} AFTER {event}{columns if event == 'UPDATE' else ''} ON {table} "
        f"BEGIN {_NOTE}; END"
        for table, columns in _WATCHED
        for event in ("INSERT", "DELETE", "UPDATE")
    ]
    statements.append(
        f"CREATE TRIGGER users_password AFTER UPDATE OF password_hash ON users WHEN {_BY_HAND} BEGIN "
        "UPDATE users SET credentials_version = credentials_version + 1, scram_sha256 = '' WHERE id = new.id; END"
    )
    return statements


def _up_postgresql() -> list[str]:
    return [
        f"CREATE FUNCTION note_directory() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_NOTE}; RETURN NULL; END $$",
        "CREATE FUNCTION note_password() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "new.credentials_version := new.credentials_version + 1; new.scram_sha256 := ''; RETURN new; END $$",
        *(
            f"CREATE TRIGGER {table}_changed AFTER INSERT OR DELETE OR UPDATE{columns} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION note_directory()"
            for table, columns in _WATCHED
        ),
        "CREATE TRIGGER users_password BEFORE UPDATE OF password_hash ON users FOR EACH ROW "
        f"WHEN ({_BY_HAND}) EXECUTE FUNCTION note_password()",
    ]
