"""/metrics: the figures in the Prometheus text format.

Counters are kept in the ledger, so that counting costs an addition and any worker answers for all; a collector reads
them when somebody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pillarbox.access.ledger import Field
from pillarbox.store import StoreError, Tx, queue_upkeep
from pillarbox.store import queue as mail_queue
from pillarbox.store.records import QueueCounts

from .answers import Answer, Handler, Request
from .checks import DEADLINE
from .figures import Figures

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

# The library adds _total to the names of counters.
_COUNTERS: tuple[tuple[str, str, Field], ...] = (
    ("smtp_connections", "Connections of all mail protocols", Field.CONNECTIONS_TOTAL),
    ("smtp_messages_received", "Messages accepted by SMTP", Field.MESSAGES_RECEIVED),
    ("smtp_messages_rejected", "Messages refused", Field.MESSAGES_REJECTED),
    ("smtp_messages_delivered", "Mailbox entries made", Field.MESSAGES_DELIVERED),
    ("smtp_messages_enqueued", "Queue entries made", Field.MESSAGES_QUEUED),
    ("smtp_bytes_received", "Octets of accepted messages", Field.BYTES_RECEIVED),
    ("smtp_auth_successes", "Successful logins", Field.AUTH_SUCCESSES),
    ("smtp_auth_failures", "Failed logins", Field.AUTH_FAILURES),
    ("smtp_rate_limit_hits", "Messages put off by a rate limit", Field.RATE_LIMIT_HITS),
    ("smtp_connections_refused", "Connections over a limit", Field.CONNECTIONS_REFUSED),
    ("smtp_dnsbl_blocks", "Clients refused by a block list", Field.DNSBL_BLOCKS),
    ("smtp_greylist_blocks", "Messages put off by greylisting", Field.GREYLIST_BLOCKS),
    ("smtp_errors", "Failures of the server itself", Field.ERRORS),
    ("smtp_tls_handshakes", "TLS handshakes that succeeded", Field.TLS_HANDSHAKES),
    ("smtp_tls_failures", "TLS handshakes that failed", Field.TLS_FAILURES),
    ("lmtp_connections", "LMTP connections", Field.LMTP_CONNECTIONS_TOTAL),
    ("lmtp_messages_received", "Messages accepted by LMTP", Field.LMTP_MESSAGES_RECEIVED),
    ("imap_connections", "IMAP connections", Field.IMAP_CONNECTIONS_TOTAL),
    ("submission_connections", "Submission connections", Field.SUBMISSION_CONNECTIONS_TOTAL),
    ("pop3_connections", "POP3 connections", Field.POP3_CONNECTIONS_TOTAL),
    ("imap_commands", "IMAP commands", Field.IMAP_COMMANDS),
    ("pillarbox_commits", "Group commits", Field.COMMITS),
    ("pillarbox_commit_failures", "Group commits that failed", Field.COMMIT_FAILURES),
    ("pillarbox_loop_stalls", "Times an event loop was late by more than 50 ms", Field.LOOP_STALLS),
    ("pillarbox_workers_died", "Workers that ended without being asked", Field.WORKERS_DIED),
    ("pillarbox_reloads", "Reloads of the settings", Field.RELOADS),
    ("pillarbox_reports_sent", "Delivery reports of the queue", Field.REPORTS_SENT),
    ("pillarbox_outgoing_connections", "Connections to next hops begun", Field.OUTGOING_CONNECTIONS),
    ("pillarbox_outgoing_failures", "Next hops that would not talk to us", Field.OUTGOING_FAILURES),
)
_DELIVERIES: tuple[tuple[str, Field], ...] = (
    ("relayed", Field.QUEUE_RELAYED),
    ("deferred", Field.QUEUE_DEFERRED),
    ("bounced", Field.QUEUE_BOUNCED),
    ("expired", Field.QUEUE_EXPIRED),
    ("dead", Field.QUEUE_DEAD),
)
_GAUGES: tuple[tuple[str, str, Field], ...] = (
    ("lmtp_connections_active", "Open LMTP connections", Field.LMTP_CONNECTIONS_ACTIVE),
    ("imap_connections_active", "Open IMAP connections", Field.IMAP_CONNECTIONS_ACTIVE),
    ("submission_connections_active", "Open submission connections", Field.SUBMISSION_CONNECTIONS_ACTIVE),
    ("pop3_connections_active", "Open POP3 connections", Field.POP3_CONNECTIONS_ACTIVE),
    ("pillarbox_spool_bytes", "Octets of messages in transfer held in memory", Field.SPOOL_BYTES),
    ("pillarbox_maintenance", "1 while new SMTP connections are sent away", Field.MAINTENANCE),
    ("pillarbox_outgoing_connections_active", "Open connections to next hops", Field.OUTGOING_ACTIVE),
    ("pillarbox_outgoing_connections_slow", "Those of them that wait for a slow server", Field.OUTGOING_SLOW),
    ("pillarbox_destinations_active", "Destinations that mail is being sent to", Field.DESTINATIONS_ACTIVE),
)
_GROUPS: tuple[tuple[str, Field], ...] = (
    ("1", Field.COMMIT_LE_1),
    ("4", Field.COMMIT_LE_4),
    ("16", Field.COMMIT_LE_16),
    ("64", Field.COMMIT_LE_64),
    ("+Inf", Field.COMMIT_MORE),
)


class LedgerCollector(Collector):
    """Everything there is. `queue` is None when the store could not say."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.queue: QueueCounts | None = None
        self.blocked = 0  # destinations that are left alone

    def collect(self) -> Iterator[Family]:
        figures = self._figures
        for name, text, field in _COUNTERS:
            yield CounterMetricFamily(name, text, value=figures.total(field))
        attempts = CounterMetricFamily("smtp_auth_attempts", "Logins by their result", labels=["result"])
        attempts.add_metric(["success"], figures.total(Field.AUTH_SUCCESSES))
        attempts.add_metric(["failure"], figures.total(Field.AUTH_FAILURES))
        yield attempts
        deliveries = CounterMetricFamily("pillarbox_deliveries", "Tries of queue entries by result", labels=["result"])
        for result, field in _DELIVERIES:
            deliveries.add_metric([result], figures.total(field))
        yield deliveries
        for name, text, field in _GAUGES:
            yield GaugeMetricFamily(name, text, value=figures.total(field))
        yield from self._of_the_server()
        yield from self._of_the_loops()
        yield self._groups()
        spent = figures.total(Field.COMMIT_NANOSECONDS) / 1e9
        yield CounterMetricFamily("pillarbox_commit_seconds", "Time spent in group commits", value=spent)
        if self.queue is not None:
            queued = {"smtp_queue_size": "", "smtp_queue_depth": "", "smtp_messages_queued": ""}
            for name in queued:
                yield GaugeMetricFamily(name, "Entries of the queue", value=self.queue.total)
            states = GaugeMetricFamily("smtp_queue_entries", "Entries of the queue by status", labels=["status"])
            for status in mail_queue.STATUSES:
                states.add_metric([status], getattr(self.queue, status))
            yield states
            text = "Destinations that are left alone after failures"
            yield GaugeMetricFamily("pillarbox_destinations_blocked", text, value=self.blocked)

    def _of_the_server(self) -> Iterator[Family]:
        figures = self._figures
        version = GaugeMetricFamily("pillarbox_build_info", "The version that runs", labels=["version"])
        version.add_metric([figures.version], 1)
        yield version
        yield GaugeMetricFamily("smtp_uptime_seconds", "Seconds since the start", value=figures.uptime)
        for name in ("smtp_connections_active", "smtp_active_connections"):
            yield GaugeMetricFamily(name, "Open connections of all mail protocols", value=figures.active)
        limit = figures.settings().max_connections
        yield GaugeMetricFamily("smtp_max_connections", "Connections that are allowed", value=limit)
        yield GaugeMetricFamily("pillarbox_workers", "Workers that take connections", value=figures.ready_workers())
        resident = figures.resident()
        for name in ("process_resident_memory_bytes", "smtp_memory_bytes"):
            yield GaugeMetricFamily(name, "Resident octets of all processes, shared ones counted twice", value=resident)
        yield CounterMetricFamily("process_cpu_seconds", "CPU time of all processes", value=figures.cpu_seconds())
        if ends := figures.total(Field.CERTIFICATE_ENDS):
            name = "pillarbox_tls_certificate_expiry_timestamp_seconds"
            yield GaugeMetricFamily(name, "When the TLS certificate ends", value=ends)

    def _of_the_loops(self) -> Iterator[Family]:
        ledger = self._figures.ledger
        now = GaugeMetricFamily("pillarbox_loop_lag_seconds", "Lateness of the event loop", labels=["worker"])
        most = GaugeMetricFamily("pillarbox_loop_lag_max_seconds", "Worst of the last minute", labels=["worker"])
        for slot in ledger.live():
            now.add_metric([str(slot)], ledger.value(slot, Field.LOOP_LAG_US) / 1e6)
            most.add_metric([str(slot)], ledger.value(slot, Field.LOOP_LAG_MAX_US) / 1e6)
        yield now
        yield most

    def _groups(self) -> Family:
        running = 0
        buckets: list[tuple[str, float]] = []
        for bound, field in _GROUPS:
            running += self._figures.total(field)
            buckets.append((bound, running))
        text = "Store functions in a group commit"
        functions = self._figures.total(Field.COMMIT_FUNCTIONS)
        return HistogramMetricFamily("pillarbox_commit_size", text, buckets=buckets, sum_value=functions)


def routes(figures: Figures) -> dict[str, Handler]:
    collector = LedgerCollector(figures)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    async def metrics(_: Request) -> Answer:
        try:
            async with asyncio.timeout(DEADLINE):
                collector.queue, collector.blocked = await figures.store.scan(queue_figures)
        except (StoreError, TimeoutError):
            collector.queue = None
        return Answer(200, generate_latest(registry), CONTENT_TYPE)

    return {"/metrics": metrics}


def queue_figures(tx: Tx) -> tuple[QueueCounts, int]:
    return mail_queue.counts(tx), queue_upkeep.blocked(tx)
