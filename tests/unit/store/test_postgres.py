"""What only PostgreSQL does: deadlocks that are run again, broken connections, looking for changes in a thread."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_samples import Clock, inbox_of, message, to
from structlog.testing import capture_logs

from pillarbox.store import (
    DIRECTORY,
    Away,
    Busy,
    Closed,
    Conflict,
    Full,
    InUse,
    IoFault,
    Store,
    StoreError,
    Temporary,
    Touched,
    Tx,
    directory,
    messages,
    migrate,
    open_store,
    postgres_outage,
)
from pillarbox.store.postgres import _MIGRATION_LOCK
from pillarbox.store.postgres_open import have_alone
from pillarbox.store.postgres_outage import Outage
from pillarbox.store.postgres_tx import PostgresTx, connect
from pillarbox.store.readiness import trouble


@pytest.fixture
async def server(postgres_url: str, clock: Clock) -> AsyncIterator[Store]:
    store = await open_store(postgres_url, clock=clock)
    yield store
    problems = await store.check()
    await store.close()
    assert problems == []


async def test_a_deadlock_is_run_again(server: Store) -> None:
    one = await server.write(directory.create_user, "one", "one@example.com", "h")
    two = await server.write(directory.create_user, "two", "two@example.com", "h")
    both = threading.Barrier(2)
    runs: list[int] = []

    def crosswise(tx: Tx, first: int, second: int) -> int:
        runs.append(first)
        tx.next_modseq(first)
        if len(runs) <= 2:
            both.wait(10)
        return tx.next_modseq(second)

    results = await asyncio.gather(server.write(crosswise, one.id, two.id), server.write(crosswise, two.id, one.id))
    assert len(runs) >= 3  # the one that was run again may meet the other once more before that has its row
    assert len(results) == 2


async def test_one_that_never_succeeds_is_busy(server: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillarbox.store import postgres
    from pillarbox.store.postgres_tx import Again

    runs: list[int] = []
    pauses: list[float] = []
    monkeypatch.setattr(postgres.random, "uniform", lambda _, most: most)
    monkeypatch.setattr(postgres.time, "sleep", pauses.append)

    def unlucky(tx: Tx) -> None:
        runs.append(1)
        raise Again("deadlock")

    with pytest.raises(Busy):
        await server.write(unlucky)
    assert len(runs) == 10
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5]


async def test_a_broken_connection_is_replaced(server: Store) -> None:
    def end_it(tx: Tx) -> None:
        tx.rows("SELECT pg_terminate_backend(pg_backend_pid())")

    with capture_logs() as said:
        with pytest.raises(Away):
            await server.write(end_it)
        with pytest.raises(Away):
            await server.read(end_it)
        user = await server.write(directory.create_user, "alice", "alice@example.com", "h")
        assert await server.read(directory.user, "alice") == user
    assert [line["event"] for line in said] == ["The database cannot be used"]


def test_an_outage_is_told_once_and_its_end_when_nothing_fails_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, float | None]] = []  # at any level of the log

    def say(event: str, seconds: float | None = None, error: str = "") -> None:
        said.append((event, seconds))

    monkeypatch.setattr(postgres_outage, "log", SimpleNamespace(info=say, warning=say))
    clock = Clock(0.0)
    outage = Outage(clock)
    outage.well()
    for _ in range(8):
        assert isinstance(outage.met(IoFault("refused")), Away)
        clock.now += 5
        outage.well()
    clock.now += 5
    outage.well()
    outage.well()
    outage.met(IoFault("again"))
    assert said == [
        ("The database cannot be used", None),
        ("The database can be used again", 35.0),
        ("The database cannot be used", None),
    ]


def test_a_server_without_connections_left_is_told_from_one_that_is_not_there(postgres_url: str) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    with connect(postgres_url) as operator:
        operator.execute(f"CREATE ROLE none_{schema} LOGIN CONNECTION LIMIT 0".encode())
    with pytest.raises(Full, match=r"too many connections .* every worker takes up to six: raise"):
        connect(postgres_url.replace("user=postgres", f"user=none_{schema}"))


async def test_errors_have_our_classes(server: Store) -> None:
    await server.write(directory.create_user, "alice", "alice@example.com", "h")
    with pytest.raises(Conflict):
        await server.write(lambda tx: tx.run("INSERT INTO subscriptions (user_id, name) VALUES (99, 'x')"))
    with pytest.raises(StoreError):
        await server.write(lambda tx: tx.run("NONSENSE"))
    with pytest.raises(StoreError):
        await server.read(lambda tx: tx.run("UPDATE users SET enabled = 0"))
    with pytest.raises(Busy):
        server.peek(directory.user, "alice")

    def slow(tx: Tx) -> None:
        tx.rows("SET idle_in_transaction_session_timeout = 1")
        time.sleep(0.2)
        tx.rows("SELECT 1")

    with pytest.raises(IoFault):
        await server.write(slow)
    with pytest.raises(StoreError):
        await open_store("postgresql:///nothing?host=/nowhere")


async def test_a_savepoint_brings_a_failed_transaction_back(server: Store) -> None:
    def half(tx: Tx) -> str:
        with pytest.raises(Conflict), tx.savepoint():
            tx.run("INSERT INTO subscriptions (user_id, name) VALUES (99, 'x')")
        return directory.create_user(tx, "alice", "alice@example.com", "h").username

    assert await server.write(half) == "alice"


async def test_one_broken_connection_is_enough_when_all_are(server: Store, postgres_url: str) -> None:
    meeting = threading.Barrier(4)
    await asyncio.gather(*[server.write(lambda tx: meeting.wait(10)) for _ in range(4)])  # four connections are open
    with connect(postgres_url) as operator:
        others = operator.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datid > 0")
        for (pid,) in others.fetchall():
            operator.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(IoFault):
        await server.write(directory.create_user, "alice", "alice@example.com", "h")
    for number in range(4):
        await server.write(directory.create_user, f"user{number}", f"user{number}@example.com", "h")


async def test_news_of_another_process(server: Store, postgres_url: str, clock: Clock) -> None:
    alice = await server.write(directory.create_user, "alice", "alice@example.com", "h")
    inbox = await inbox_of(server, alice)
    told: asyncio.Queue[frozenset[Touched]] = asyncio.Queue()
    server.notice_changes([inbox.id])
    await asyncio.sleep(0)
    server.on_commit(told.put_nowait)
    assert await asyncio.wait_for(told.get(), 10) == {Touched(alice.id, inbox.id)}  # the first look
    other = await open_store(postgres_url, clock=clock)
    await other.write(messages.deliver, message(), [to(alice)])
    await other.write(directory.set_quota, "alice", 1000)
    server.notice_changes([inbox.id])
    assert await asyncio.wait_for(told.get(), 10) == {DIRECTORY, Touched(alice.id, inbox.id)}
    await other.close()


async def test_closed(postgres_url: str) -> None:
    store = await open_store(postgres_url)
    await store.close()
    with pytest.raises(Closed):
        await store.write(directory.user, "x")
    with pytest.raises(Closed):
        await store.read(directory.user, "x")
    assert store.notice_changes([1]) == frozenset()


async def test_a_standby_is_no_mistake_of_ours(postgres_url: str) -> None:
    await (await open_store(postgres_url)).close()
    with connect(postgres_url) as connection:
        connection.read_only = True
        with pytest.raises(IoFault, match="read-only"):
            PostgresTx(connection, 0).run("UPDATE users SET modseq = 0")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:secret%zz@/db",
        "postgresql://ada:secret word@/db",
        "postgresql://ada:secret@[::1/db",
        "postgresql://ada:x@secret@127.0.0.1/db",
        "postgresql://127.0.0.1:secret/x@db/db",
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str) -> None:
    with pytest.raises(IoFault) as refused:
        connect(url)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_gone_without_a_word_is_not_waited_for(postgres_url: str) -> None:
    """What libpq does with these is its own matter; that the URL goes first is ours."""
    with connect(f"{postgres_url}&keepalives_idle=77&application_name=mine") as connection:
        said = connection.info.get_parameters()
    assert (said["keepalives_idle"], said["tcp_user_timeout"], said["connect_timeout"]) == ("77", "25000", "10")
    assert (said["application_name"], said["fallback_application_name"]) == ("mine", "pillarbox")


def test_the_server_gives_up_a_node_that_is_gone(postgres_url: str) -> None:
    """Else what the transaction of a dead machine has locked stays so for hours."""
    ask = "SELECT setting FROM pg_settings WHERE name IN ('lock_timeout', 'tcp_keepalives_idle') ORDER BY name"
    with connect(postgres_url) as connection:
        connection.rollback()
        assert connection.execute(ask).fetchone() == ("60000",)  # of a socket there is nothing to keep alive
    with connect(f"{postgres_url}%20-clock_timeout%3D7") as connection:
        assert connection.execute(ask).fetchone() == ("7",)


@pytest.mark.parametrize(("said", "holds"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
def test_a_commit_waits_for_the_disk(postgres_url: str, said: str, holds: str) -> None:
    with connect(f"{postgres_url}%20-csynchronous_commit%3D{said}") as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (holds,)


async def test_a_database_that_takes_no_writes_says_so(server: Store, postgres_url: str) -> None:
    assert await server.scan(trouble) == ""
    store = await open_store(f"{postgres_url}%20-cdefault_transaction_read_only%3Don")
    assert "take no writes" in await store.scan(trouble)
    with pytest.raises(IoFault, match="read-only"):
        await store.write(directory.create_user, "alice", "alice@example.com", "h")
    await store.close()


async def test_where_the_server_gives_few_connections_they_are_shared(postgres_url: str) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    with connect(postgres_url) as operator:
        operator.execute(f"CREATE ROLE few_{schema} LOGIN CONNECTION LIMIT 3".encode())
        operator.execute(f"GRANT ALL ON SCHEMA {schema} TO few_{schema}".encode())
    store = await open_store(postgres_url.replace("user=postgres", f"user=few_{schema}"))
    with connect(postgres_url.replace("user=postgres", f"user=few_{schema}")):
        slow = [store.write(lambda tx: tx.row("SELECT 1 FROM pg_sleep(0.1)")) for _ in range(12)]
        assert await asyncio.gather(*slow) == [(1,)] * 12
        with connect(postgres_url) as operator:
            operator.execute(f"ALTER ROLE few_{schema} CONNECTION LIMIT 0".encode())
            operator.commit()
            operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (f"few_{schema}",)
            )
        with pytest.raises(Temporary):
            await store.write(lambda tx: tx.row("SELECT 1"))
        with pytest.raises(IoFault, match="too many connections"):
            await store.write(lambda tx: tx.row("SELECT 1"))
    await store.close()


async def test_a_lock_is_not_waited_for_without_end_but_that_of_the_schema(postgres_url: str) -> None:
    impatient = f"{postgres_url}%20-clock_timeout%3D50"
    store = await open_store(impatient)
    await store.write(directory.create_user, "alice", "alice@example.com", "h")
    with connect(postgres_url) as other:
        other.execute("SELECT id FROM users FOR UPDATE")
        with pytest.raises(Busy):
            await store.write(lambda tx: tx.next_modseq(1))
        other.rollback()
        other.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        opening = asyncio.ensure_future(open_store(impatient))
        await asyncio.sleep(0.3)
        assert not opening.done()
    await (await opening).close()
    await store.close()


async def test_who_has_a_store_alone_keeps_others_out_until_it_is_gone(postgres_url: str) -> None:
    store = await open_store(postgres_url)
    with connect(postgres_url) as alone:
        have_alone(alone)
        with pytest.raises(IoFault, match="just being copied"):
            await store.write(directory.create_user, "alice", "alice@example.com", "h")
    await store.write(directory.create_user, "alice", "alice@example.com", "h")
    with connect(postgres_url) as late, pytest.raises(InUse):
        have_alone(late)
    await store.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_keep_every_text_is_refused(postgres_url: str, encoding: str) -> None:
    name = f"in_{encoding.lower()}"
    with connect(postgres_url, autocommit=True) as operator:
        operator.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'".encode())
    with pytest.raises(StoreError, match=f"has the encoding {encoding}"):
        migrate(postgres_url.replace("/postgres?", f"/{name}?"))


def test_the_texts_are_utf_8_whatever_the_environment_says(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with connect(postgres_url) as connection:
        assert connection.execute("SELECT '→'::text").fetchone() == ("→",)


def test_why_there_is_no_connection_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(IoFault, match=rf'socket "{tmp_path}/\S+" failed: No such file or directory Is the server'):
        connect(f"postgresql:///db?host={tmp_path}")
