"""The documents /health, /stats, /ready, /live and /startup."""

from __future__ import annotations

from typing import Any

from pillarbox.access.ledger import Field

from .answers import Answer, Handler, Request, as_json
from .figures import Figures

DEGRADED = 0.9  # of the connections
NOT_READY = 0.95
MINIMUM_UPTIME = 10.0  # seconds until /ready
MINIMUM_STARTUP = 5.0  # seconds until /startup
RESPONSIVE = 5.0  # seconds that a loop may have been silent
DEADLOCKED = 30.0
_ALLOCATED = 1 << 20  # octets


def routes(figures: Figures) -> dict[str, Handler]:
    """Handler by path."""

    async def health(_: Request) -> Answer:
        return await health_of(figures)

    async def stats(_: Request) -> Answer:
        return as_json(stats_of(figures))

    async def ready(_: Request) -> Answer:
        return await ready_of(figures)

    async def live(_: Request) -> Answer:
        return live_of(figures)

    async def startup(_: Request) -> Answer:
        return await startup_of(figures)

    return {
        "/health": health,
        "/stats": stats,
        "/ready": ready,
        "/readyz": ready,
        "/live": live,
        "/livez": live,
        "/startup": startup,
    }


async def health_of(figures: Figures) -> Answer:
    """200 while healthy or degraded, 503 when mail cannot be taken: no database, or no room on its disk."""
    outcomes = await figures.checks.look()
    serving = figures.ready_workers() > 0 and not figures.draining()
    checks = {
        "smtp_server": serving,
        "connections_available": figures.active < figures.settings().max_connections,
        "database": outcomes["database"].healthy,
        "filesystem": outcomes["filesystem"].healthy,
    }
    if not (checks["database"] and checks["filesystem"]):
        status = "unhealthy"
    elif figures.usage >= DEGRADED or not all(checks.values()) or _maintenance(figures):
        status = "degraded"
    else:
        status = "healthy"
    dependencies: list[dict[str, Any]] = []
    for outcome in outcomes.values():
        entry: dict[str, Any] = {
            "name": outcome.name,
            "healthy": outcome.healthy,
            "response_time_ms": outcome.milliseconds,
        }
        dependencies.append(entry | ({"error": outcome.error} if outcome.error else {}))
    document = {
        "status": status,
        "version": figures.version,
        "uptime_seconds": int(figures.uptime),
        "active_connections": figures.active,
        "max_connections": figures.settings().max_connections,
        "memory_usage_mb": round(figures.resident() / (1 << 20), 1),
        "workers": figures.ready_workers(),
        "maintenance": _maintenance(figures),
        "checks": checks,
        "dependencies": dependencies,
    }
    return as_json(document, 503 if status == "unhealthy" else 200)


def stats_of(figures: Figures) -> dict[str, Any]:
    """What the server has done since it was started, all workers together."""
    total = figures.total
    return {
        "version": figures.version,
        "uptime_seconds": int(figures.uptime),
        "total_connections": total(Field.CONNECTIONS_TOTAL),
        "active_connections": figures.active,
        "max_connections": figures.settings().max_connections,
        "messages_received": total(Field.MESSAGES_RECEIVED),
        "messages_rejected": total(Field.MESSAGES_REJECTED),
        "messages_delivered": total(Field.MESSAGES_DELIVERED),
        "messages_queued": total(Field.MESSAGES_QUEUED),
        "bytes_received": total(Field.BYTES_RECEIVED),
        "auth_successes": total(Field.AUTH_SUCCESSES),
        "auth_failures": total(Field.AUTH_FAILURES),
        "rate_limit_hits": total(Field.RATE_LIMIT_HITS),
        "dnsbl_blocks": total(Field.DNSBL_BLOCKS),
        "greylist_blocks": total(Field.GREYLIST_BLOCKS),
        "smtp_connections": total(Field.SMTP_CONNECTIONS_ACTIVE),
        "lmtp_connections": total(Field.LMTP_CONNECTIONS_ACTIVE),
        "imap_connections": total(Field.IMAP_CONNECTIONS_ACTIVE),
        "pop3_connections": total(Field.POP3_CONNECTIONS_ACTIVE),
        "submission_connections": total(Field.SUBMISSION_CONNECTIONS_ACTIVE),
        "workers": figures.ready_workers(),
    }


async def ready_of(figures: Figures) -> Answer:
    outcomes = await figures.checks.look()
    checks = {
        "connections_available": figures.usage < NOT_READY,
        "database_accessible": outcomes["database"].healthy,
        "minimum_uptime": figures.uptime >= MINIMUM_UPTIME,
        "not_draining": not figures.draining(),
    }
    ready = all(checks.values())
    return as_json({"ready": ready, "checks": checks}, 200 if ready else 503)


def live_of(figures: Figures) -> Answer:
    silence = figures.silence()
    checks = {
        "memory_allocatable": _allocatable(),
        "event_loop_responsive": silence < RESPONSIVE,
        "not_deadlocked": silence < DEADLOCKED,
    }
    # A busy loop is no reason to be killed; only these are.
    alive = checks["memory_allocatable"] and checks["not_deadlocked"]
    document: dict[str, Any] = {"alive": alive, "checks": checks}
    if not alive:
        document["reason"] = "out of memory" if not checks["memory_allocatable"] else "a worker hangs"
    return as_json(document, 200 if alive else 503)


async def startup_of(figures: Figures) -> Answer:
    outcomes = await figures.checks.look()
    checks = {
        "minimum_uptime": figures.uptime >= MINIMUM_STARTUP,
        "accepting_connections": figures.ready_workers() > 0,
        "database_initialized": outcomes["database"].healthy,
    }
    started = all(checks.values())
    document = {
        "started": started,
        "uptime_seconds": int(figures.uptime),
        "min_startup_seconds": int(MINIMUM_STARTUP),
        "checks": checks,
    }
    return as_json(document, 200 if started else 503)


def _maintenance(figures: Figures) -> bool:
    return bool(figures.total(Field.MAINTENANCE))


def _allocatable() -> bool:
    try:
        bytearray(_ALLOCATED)
    except MemoryError:
        return False
    return True
