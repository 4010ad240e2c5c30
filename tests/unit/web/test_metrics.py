"""/metrics: names of the contract, values, and that Prometheus' own parser takes it."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from pillarbox.access.ledger import Field

CONTRACT = """
smtp_uptime_seconds smtp_connections_total smtp_connections_active smtp_max_connections smtp_messages_received_total
smtp_messages_rejected_total smtp_auth_successes_total smtp_auth_failures_total smtp_rate_limit_hits_total
smtp_dnsbl_blocks_total smtp_greylist_blocks_total smtp_errors_total smtp_messages_queued smtp_queue_size
smtp_queue_depth smtp_active_connections smtp_memory_bytes process_resident_memory_bytes process_cpu_seconds_total
"""


async def samples(server: Any) -> dict[str, float]:
    status, headers, body = await server.get("/metrics")
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_every_name_of_the_contract(server: Any) -> None:
    assert set(CONTRACT.split()) <= set(await samples(server))


async def test_values_are_sums_over_the_workers(server: Any) -> None:
    one, two = server.slots[1:]
    one.add(Field.MESSAGES_RECEIVED, 2)
    two.add(Field.MESSAGES_RECEIVED, 3)
    two.add(Field.AUTH_FAILURES, 7)
    one.set(Field.CONNECTIONS_ACTIVE, 4)
    two.set(Field.LOOP_LAG_US, 2500)
    server.slots[0].set(Field.CERTIFICATE_ENDS, 1_800_000_000)
    for field, n in ((Field.COMMIT_LE_1, 1), (Field.COMMIT_LE_16, 2), (Field.COMMIT_MORE, 1)):
        one.add(field, n)
    one.add(Field.COMMIT_FUNCTIONS, 123)
    one.add(Field.QUEUE_RELAYED, 6)
    two.set(Field.OUTGOING_ACTIVE, 8)
    found = await samples(server)
    expected = {
        "smtp_messages_received_total": 5,
        "smtp_auth_failures_total": 7,
        "smtp_auth_attempts_total{result=failure}": 7,
        "smtp_connections_active": 4,
        "smtp_max_connections": 20,
        "smtp_uptime_seconds": 100,
        "smtp_queue_size": 2,
        "smtp_queue_entries{status=retry}": 1,
        "pillarbox_deliveries_total{result=relayed}": 6,
        "pillarbox_outgoing_connections_active": 8,
        "pillarbox_destinations_blocked": 4,
        "pillarbox_loop_lag_seconds{worker=2}": 0.0025,
        "pillarbox_tls_certificate_expiry_timestamp_seconds": 1_800_000_000,
        "pillarbox_commit_size_bucket{le=1}": 1,
        "pillarbox_commit_size_bucket{le=4}": 1,
        "pillarbox_commit_size_bucket{le=16}": 3,
        "pillarbox_commit_size_bucket{le=+Inf}": 4,
        "pillarbox_commit_size_count": 4,
        "pillarbox_commit_size_sum": 123,
    }
    assert {name: found[name] for name in expected} == expected


async def test_the_store_may_be_silent(server: Any) -> None:
    server.store.broken = True
    found = await samples(server)
    assert "smtp_queue_size" not in found and "smtp_connections_total" in found


async def test_memory_and_cpu_are_those_of_all_processes(server: Any) -> None:
    figures = server.figures
    assert set(figures.processes()) == {os.getpid()}
    assert figures.resident() > 10 << 20
    assert figures.cpu_seconds() > 0
    server.ledger.clear(1)
    server.ledger.clear(2)
    server.slots[0].set(Field.PID, 0)
    assert figures.resident() == 0 and figures.cpu_seconds() == 0
