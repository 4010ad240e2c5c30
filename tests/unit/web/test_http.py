"""The HTTP side itself: routes, methods, errors, and clients that misbehave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pillarbox.web import serve


@pytest.mark.parametrize("port", ["health", "api"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/health/", "/api/nothing", "/../health", "/health%00"])
async def test_unknown_paths(server: Any, port: str, path: str) -> None:
    assert await server.json(path, port) == (404, {"error": "Not Found"})


@pytest.mark.parametrize("path", ["/health", "/stats", "/metrics"])
async def test_three_are_on_both_ports(server: Any, path: str) -> None:
    for port in ("health", "api"):
        status, headers, body = await server.get(path, port)
        assert status == 200 and body and headers["cache-control"] == "no-store"


async def test_the_queue_is_on_the_api_port_only(server: Any) -> None:
    assert (await server.json("/api/queue", "api"))[0] == 200
    assert (await server.json("/api/queue", "health"))[0] == 404


async def test_methods(server: Any) -> None:
    status, headers, body = await server.get("/stats", method="HEAD")
    assert status == 200 and int(headers["content-length"]) > 0 and body == b""
    status, headers, _ = await server.get("/stats", method="DELETE")
    assert status == 405 and headers["allow"] == "GET, HEAD"


async def test_a_request_with_a_body_is_answered_and_closed(server: Any) -> None:
    request = b"POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000
    answer = await server.raw(request)
    assert answer.startswith(b"HTTP/1.1 405 ") and b"connection: close\r\n" in answer


async def test_pipelined_requests_are_answered_in_order(server: Any) -> None:
    one = b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await server.raw(one + one + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 2 and answer.count(b"HTTP/1.1 404 ") == 1
    assert answer.rindex(b"200 OK") < answer.index(b"404")


@pytest.mark.parametrize(
    "garbage",
    [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", "GET /ü HTTP/1.1\r\nHost: x\r\n\r\n".encode()],
)
async def test_garbage(server: Any, garbage: bytes) -> None:
    assert (await server.raw(garbage)).startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert (await server.json("/stats"))[0] == 200


async def test_endless_headers(server: Any) -> None:
    try:
        answer = await server.raw(b"GET /stats HTTP/1.1\r\n" + b"X: y\r\n" * 200_000)
    except ConnectionResetError:  # closed while we still sent: the refusal may be lost on the way
        answer = b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert (await server.json("/stats"))[0] == 200


async def test_a_slow_client_is_cut(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PATIENCE", 0.02)
    assert await server.raw(b"GET /stats HT") == b""
    assert await server.raw(b"") == b""


async def test_stopping_lets_idle_connections_go(server: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["health"])
    writer.write(b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    server.health.stop_listening()
    server.health.hang_up()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.ports["health"])


@pytest.mark.parametrize(
    ("query", "count"), [("", 2), ("?limit=1", 1), ("?offset=1", 1), ("?status=retry", 1), ("?status=failed", 0)]
)
async def test_the_queue(server: Any, query: str, count: int) -> None:
    status, queue = await server.json(f"/api/queue{query}", "api")
    assert status == 200 and len(queue["messages"]) == count
    assert (queue["queue_size"], queue["total"], queue["pending"], queue["processing"], queue["retry"]) == (
        2,
        2,
        1,
        0,
        1,
    )


async def test_an_entry_of_the_queue(server: Any) -> None:
    _, queue = await server.json("/api/queue?status=retry", "api")
    assert queue["messages"] == [
        {
            "id": 2,
            "from_address": "",
            "to_address": "c@y.test",
            "status": "retry",
            "priority": 1,
            "retry_count": 3,
            "attempts": 3,
            "max_retries": 10,
            "next_retry_at": 1700000900,
            "created_at": 1700000000,
            "updated_at": 1700000100,
            "last_error": "451 later",
            "size": 1234,
            "message_id": "",
            "destination": "",
        }
    ]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=%F0%9D%9F%91", "limit"),
        ("offset=-1", "offset"),
        ("offset=9999999999999999999999", "offset"),
        ("status=lost", "status"),
        ("status=", "status"),
        ("&".join("a=1" for _ in range(99)), "parameters"),
    ],
)
async def test_bad_parameters(server: Any, query: str, word: str) -> None:
    status, answer = await server.json(f"/api/queue?{query}", "api")
    assert status == 400 and word in answer["error"] and list(answer) == ["error"]


async def test_the_queue_of_a_store_that_does_not_answer(server: Any) -> None:
    server.store.broken = True
    status, answer = await server.json("/api/queue", "api")
    assert status == 503 and "locked by somebody" in answer["error"]


async def test_a_fault_of_ours_is_a_500(server: Any) -> None:
    server.settings = None
    assert await server.json("/stats") == (500, {"error": "Internal Server Error"})
