"""A database's address, and how it is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pillarbox.config.postgres_url import PostgresUrl, refusal, store_name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql:///mail", "postgresql:///mail"),
        ("postgres://db.example:5433/mail", "postgres://db.example:5433/mail"),
        ("postgresql://ada@db/mail", "postgresql://ada@db/mail"),
        ("postgresql://ada:secret@db/mail?sslmode=require", "postgresql://ada:***@db/mail?sslmode=require"),
        ("postgresql://ada:se@cr:et@db/mail", "postgresql://ada:***@db/mail"),
        ("postgresql://a:secret@one,two/mail", "postgresql://a:***@one,two/mail"),
        ("postgresql:///mail?user=a&password=secret&x=1", "postgresql:///mail?user=a&password=***&x=1"),
        ("postgresql:///mail?password=secret", "postgresql:///mail?password=***"),
        ("postgresql://db?sslpassword=secret", "postgresql://db?sslpassword=***"),
        ("postgresql://ada:secret@db?x=/y", "postgresql://ada:***@db?x=/y"),
        ("postgresql://ada:se?cr?et@db/mail?x=y", "postgresql://ada:***@db/mail?x=y"),
        ("postgresql://ada:se?cr:et@db?x=y", "postgresql://ada:***@db?x=y"),
        ("postgresql://ada:s@ec/ret@db/mail", "postgresql://ada:***@db/mail"),
        ("postgresql://db:5432/mail?user=ada@example.com", "postgresql://db:5432/mail?user=ada@example.com"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    named = PostgresUrl(url)
    assert (str(named), f"{named}", repr(named)) == (shown, shown, f"PostgresUrl({shown!r})")
    assert named.has_password == ("***" in shown)
    assert os.fspath(named) == url


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("ada@db/mail?sslmode=verify-full&sslrootcert=system", ""),
        ("ada@one:5432,two:5433/mail?target_session_attrs=read-write", ""),
        ("/mail?host=/run/postgresql&connect_timeout=3", ""),
        ("ada@db/mail?hostaddr=127.0.0.1", ""),
        ("ada@db/mail?nonsense=1", 'invalid URI query parameter: "..."'),
        ("ada@db:port/mail", 'invalid integer value "..."'),
        ("ada@db:99999/mail", 'invalid port number: "..."'),
        ("ada:50%zz@db/mail", 'invalid percent-encoded token: "..."'),
        ("ada@one,two/mail?sslmode=verify-fool", 'invalid sslmode value: "..."'),
        ("ada@db/mail?connect_timeout=soon", "bad value for connect_timeout: '...'"),
    ],
)
def test_what_libpq_does_not_take(rest: str, why: str) -> None:
    assert refusal(PostgresUrl(f"postgresql://{rest}")) == why


def test_what_an_operator_writes() -> None:
    assert store_name("postgresql:///mail") == PostgresUrl("postgresql:///mail")
    assert store_name("postgres://db/mail") == PostgresUrl("postgres://db/mail")
    assert os.fspath(store_name(" PostgreSQL://Ada:x@DB/Mail ")) == "postgresql://Ada:x@DB/Mail"
    assert store_name("/var/lib/smtp.db") == Path("/var/lib/smtp.db")
    assert store_name("postgres.db") == Path("postgres.db")
