"""/health, /stats, /ready, /live, /startup: shapes, figures of all workers, and when they say no."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pillarbox.access.ledger import Field


def serve(server: Any) -> None:
    """Two workers that are ready and have just shown a beat."""
    for slot in server.slots[1:]:
        slot.set(Field.READY, 1)
        slot.set(Field.HEARTBEAT_MS, int(server.beat * 1000))


async def test_healthy(server: Any) -> None:
    serve(server)
    server.slots[1].add(Field.CONNECTIONS_ACTIVE, 3)
    server.slots[2].add(Field.CONNECTIONS_ACTIVE, 4)
    status, health = await server.json("/health")
    assert status == 200
    assert health["status"] == "healthy" and health["version"] == "1.2.3" and health["uptime_seconds"] == 100
    assert health["active_connections"] == 7 and health["max_connections"] == 20
    assert health["memory_usage_mb"] > 0 and health["workers"] == 2
    assert health["checks"] == {
        "smtp_server": True,
        "connections_available": True,
        "database": True,
        "filesystem": True,
    }
    assert [d["name"] for d in health["dependencies"]] == ["database", "filesystem"]
    assert all(d["healthy"] and d["response_time_ms"] >= 0 and "error" not in d for d in health["dependencies"])


@pytest.mark.parametrize(("active", "state"), [(17, "healthy"), (18, "degraded"), (20, "degraded")])
async def test_degraded_when_nearly_full(server: Any, active: int, state: str) -> None:
    serve(server)
    server.slots[1].set(Field.CONNECTIONS_ACTIVE, active)
    status, health = await server.json("/health")
    assert (status, health["status"]) == (200, state)
    assert health["checks"]["connections_available"] is (active < 20)


async def test_degraded_in_maintenance_or_while_draining(server: Any) -> None:
    serve(server)
    server.slots[0].set(Field.MAINTENANCE, 1)
    assert (await server.json("/health"))[1]["status"] == "degraded"
    server.slots[0].set(Field.MAINTENANCE, 0)
    server.draining = True
    _, health = await server.json("/health")
    assert health["status"] == "degraded" and health["checks"]["smtp_server"] is False


async def test_unhealthy_without_database(server: Any) -> None:
    serve(server)
    server.store.broken = True
    status, health = await server.json("/health")
    assert status == 503 and health["status"] == "unhealthy" and health["checks"]["database"] is False
    assert health["dependencies"][0]["error"] == "locked by somebody"


async def test_unhealthy_and_not_ready_on_a_database_that_takes_no_writes(server: Any) -> None:
    serve(server)
    server.store.trouble = "the database is a standby, which takes no writes"
    status, health = await server.json("/health")
    assert status == 503 and "standby" in health["dependencies"][0]["error"]
    status, ready = await server.json("/ready")
    assert status == 503 and ready["checks"]["database_accessible"] is False


async def test_unhealthy_when_the_database_does_not_answer(server: Any) -> None:
    serve(server)
    server.store.stuck = True
    status, health = await server.json("/health")
    assert status == 503 and "no answer" in health["dependencies"][0]["error"]


async def test_unhealthy_without_room_on_the_disk(server: Any) -> None:
    serve(server)
    server.disk = "10 bytes free, 20 are needed"
    status, health = await server.json("/health")
    assert status == 503 and health["checks"]["filesystem"] is False


async def test_checks_are_kept_for_a_second_and_shared(server: Any) -> None:
    serve(server)
    await asyncio.gather(*(server.json("/health") for _ in range(5)))
    assert server.store.scans == 1
    server.store.broken = True
    assert (await server.json("/health"))[0] == 200
    server.beat += 1.1
    assert (await server.json("/health"))[0] == 503


async def test_stats_are_sums_over_the_workers(server: Any) -> None:
    serve(server)
    for slot in server.slots[1:]:
        slot.add(Field.CONNECTIONS_TOTAL, 10)
        slot.add(Field.MESSAGES_RECEIVED, 4)
        slot.add(Field.AUTH_FAILURES, 1)
    status, stats = await server.json("/stats")
    assert status == 200
    expected = {"total_connections": 20, "messages_received": 8, "auth_failures": 2, "version": "1.2.3"}
    assert expected.items() <= stats.items()
    contract = (
        "uptime_seconds total_connections active_connections messages_received messages_rejected auth_successes "
        "auth_failures rate_limit_hits dnsbl_blocks greylist_blocks"
    )
    assert set(contract.split()) <= set(stats)


@pytest.mark.parametrize("path", ["/ready", "/readyz"])
async def test_ready(server: Any, path: str) -> None:
    serve(server)
    assert await server.json(path) == (
        200,
        {
            "ready": True,
            "checks": {
                "connections_available": True,
                "database_accessible": True,
                "minimum_uptime": True,
                "not_draining": True,
            },
        },
    )
    server.now = 1_700_000_009.0
    status, answer = await server.json(path)
    assert status == 503 and answer["checks"]["minimum_uptime"] is False
    server.now += 1
    server.slots[1].set(Field.CONNECTIONS_ACTIVE, 19)
    status, answer = await server.json(path)
    assert status == 503 and answer["checks"]["connections_available"] is False


@pytest.mark.parametrize("path", ["/live", "/livez"])
async def test_live(server: Any, path: str) -> None:
    serve(server)
    checks = {"memory_allocatable": True, "event_loop_responsive": True, "not_deadlocked": True}
    assert await server.json(path) == (200, {"alive": True, "checks": checks})
    server.beat += 6
    status, answer = await server.json(path)
    assert status == 200 and answer["checks"]["event_loop_responsive"] is False
    server.beat += 30
    status, answer = await server.json(path)
    assert status == 503 and answer["reason"] == "a worker hangs"


async def test_startup(server: Any) -> None:
    status, answer = await server.json("/startup")
    assert status == 503 and answer["checks"]["accepting_connections"] is False
    serve(server)
    status, answer = await server.json("/startup")
    assert status == 200 and answer["started"] is True
    assert answer["min_startup_seconds"] == 5 and answer["uptime_seconds"] == 100
    server.now = 1_700_000_004.0
    assert (await server.json("/startup"))[0] == 503
