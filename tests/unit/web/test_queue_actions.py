"""What changes the queue over HTTP, on a real store: a token of ours is needed, and somebody of this machine."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from empty_store import put_empty_store
from pillarbox.access.ledger import Ledger
from pillarbox.config import Settings
from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, blobs, delivery, open_store, queue
from pillarbox.store.records import NewMessage, Queued, QueueFilter
from pillarbox.web.answers import Forbidden, Request
from pillarbox.web.checks import Checks
from pillarbox.web.figures import Figures
from pillarbox.web.forgery import LIFE, Guard, check_local
from pillarbox.web.interfaces import api_interface
from pillarbox.web.serve import HttpServer

KEY = "1M80JNJZZ1X800"


class Api:
    """The management API on loopback, over a queue with three entries."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1_800_000_000.0
        figures = Figures(
            ledger=Ledger(2),
            settings=lambda: Settings.of("testing"),
            store=store,
            checks=Checks({}),
            started_at=0.0,
            clock=lambda: self.now,
        )
        self.server = HttpServer(api_interface(figures))
        self.port = 0

    async def start(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        await self.server.start([sock])
        content = b"Subject: x\r\n\r\nhello\r\n"
        message = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
        plans = [Queued("a@x.test", f"{name}@y.test", message_key=KEY, destination="mx y.test") for name in "bcd"]
        await self.store.write(delivery.deliver, message, plans)

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, Any]:
        named = {"Host": "localhost", "Connection": "close"} | {k.replace("_", "-"): v for k, v in headers.items()}
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(5):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), json.loads(body)

    async def token(self) -> str:
        status, answer = await self.ask("GET", "/api/csrf-token")
        assert status == 200
        return str(answer["token"])

    async def rows(self, **wanted: Any) -> list[Any]:
        return await self.store.scan(queue.find, QueueFilter(**wanted))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    made = Api(store)
    await made.start()
    yield made
    await made.server.close(0)
    assert await store.check() == []
    await store.close()


async def test_retry_makes_an_entry_due_and_says_who(api: Api) -> None:
    await api.store.write(lambda tx: tx.run("UPDATE message_queue SET status = 'retry', next_retry_at = 4000000000"))
    first = (await api.rows())[0]
    status, answer = await api.ask("POST", f"/api/queue/{first.id}/retry", X_CSRF_Token=await api.token())
    assert (status, answer) == (200, {"success": True, "message": "1 entry due now"})
    (row,) = await api.rows(ids=(first.id,))
    assert row.next_retry_at < 4_000_000_000
    told = await api.store.scan(lambda tx: tx.rows("SELECT kind, queue_id, recipient, detail FROM message_events"))
    assert told == [("retried", first.id, row.to_address, '{"operator":"api"}')]
    assert [other.next_retry_at for other in await api.rows() if other.id != row.id] == [4_000_000_000] * 2


async def test_delete_takes_an_entry_or_a_whole_message(api: Api) -> None:
    first = (await api.rows())[0]
    assert (await api.ask("DELETE", f"/api/queue/{first.id}", X_CSRF_Token=await api.token()))[0] == 200
    assert len(await api.rows()) == 2
    status, answer = await api.ask("DELETE", f"/api/queue/{KEY}", X_CSRF_Token=await api.token())
    assert (status, answer["message"]) == (200, "2 entries deleted")
    assert await api.rows() == []


async def test_what_is_not_there(api: Api) -> None:
    for method, path in (
        ("DELETE", "/api/queue/999"),
        ("POST", "/api/queue/999/retry"),
        ("DELETE", f"/api/queue/{KEY[:-1]}1"),
    ):
        status, answer = await api.ask(method, path, X_CSRF_Token=await api.token())
        assert status == 404 and "error" in answer
    assert (await api.ask("DELETE", "/api/queue/abc", X_CSRF_Token=await api.token()))[0] == 404
    assert (await api.ask("POST", "/api/queue/1", X_CSRF_Token=await api.token()))[0] == 405
    assert (await api.ask("POST", "/api/queue", X_CSRF_Token=await api.token()))[0] == 405


async def test_a_token_is_needed_and_good_once_and_for_an_hour(api: Api) -> None:
    refused = (403, {"error": "Invalid or missing CSRF token"})
    path = f"/api/queue/{(await api.rows())[0].id}/retry"
    assert await api.ask("POST", path) == refused
    for bad in ("x", "A" * 43, (await api.token())[:-2] + "xx", "é"):
        assert await api.ask("POST", path, X_CSRF_Token=bad) == refused
    token = await api.token()
    assert (await api.ask("POST", path, X_CSRF_Token=token))[0] == 200
    assert await api.ask("POST", path, X_CSRF_Token=token) == refused
    old = await api.token()
    api.now += LIFE + 1
    assert await api.ask("POST", path, X_CSRF_Token=old) == refused


async def test_another_worker_knows_the_token(api: Api) -> None:
    other = Guard(api.store, lambda: api.now)
    await other.check(Request("/", {}, {"x-csrf-token": await api.token(), "host": "localhost:8080"}, "127.0.0.1"))


async def test_a_name_that_was_made_to_point_here_is_refused(api: Api) -> None:
    for host in ("evil.example.org", "127.0.0.1.evil.example.org", "192.0.2.1", "[2001:db8::1]:8080", ""):
        assert (await api.ask("GET", "/api/csrf-token", Host=host))[0] in (400, 403)
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert (await api.ask("GET", "/api/csrf-token", Host=host))[0] == 200


@pytest.mark.parametrize("client", ["192.0.2.1", "", "::ffff:192.0.2.1", "10.0.0.1"])
def test_only_this_machine(client: str) -> None:
    with pytest.raises(Forbidden):
        check_local(Request("/", {}, {"host": "localhost"}, client))
    check_local(Request("/", {}, {"host": "localhost"}, "::ffff:127.0.0.1"))


async def test_the_statistics_and_held_entries(api: Api) -> None:
    await api.store.write(queue.hold, QueueFilter(recipient="b@y.test"))
    status, stats = await api.ask("GET", "/api/queue/stats")
    assert status == 200
    assert {name: stats[name] for name in ("queue_size", "pending", "held", "failed")} == {
        "queue_size": 3,
        "pending": 2,
        "held": 1,
        "failed": 0,
    }
    assert [(each["name"], each["recipients"]) for each in stats["destinations"]] == [("mx y.test", 2)]
    status, held = await api.ask("GET", "/api/queue?status=held")
    assert status == 200 and [entry["to_address"] for entry in held["messages"]] == ["b@y.test"]
    assert held["held"] == 1
