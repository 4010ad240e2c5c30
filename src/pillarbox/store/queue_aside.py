"""Rows of the queue that nobody can read: what `sqlite3` lets an operator write into a column, and what is done then.

SQLite keeps a text in a column of integers. Such a row can be neither sent nor settled, so it is held, and says why;
`pillarbox check` names it with what mends it. PostgreSQL refuses such a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from pillarbox.store.events import add_events
from pillarbox.store.records import Event
from pillarbox.store.tx import Row, Tx

log = structlog.get_logger()

END_OF_TIME = 253_402_300_800  # the year 10000: what comes after is no date
_NOW = "strftime('%s','now')"


class _Kind(NamedTuple):
    """What a column holds, in words, and whether a value is that."""

    words: str
    holds: Callable[[object], bool]


_NUMBER = _Kind("whole number", lambda value: isinstance(value, int))
_ID = _Kind("whole number", lambda value: value is None or isinstance(value, int))
_TIME = _Kind("time in seconds since 1970", lambda value: isinstance(value, int) and 0 <= value < END_OF_TIME)
_PERHAPS = _Kind(_TIME.words, lambda value: value is None or _TIME.holds(value))
_TEXT = _Kind("text", lambda value: isinstance(value, str))
_SAID = _Kind("text", lambda value: value is None or isinstance(value, str))
_OCTETS = _Kind("octets (a blob)", lambda value: isinstance(value, bytes | memoryview))

# The columns that are read, and what mends each.
_COLUMNS: dict[str, tuple[_Kind, str]] = {
    **dict.fromkeys(("priority", "attempts", "retry_count", "max_retries", "smtputf8", "moved"), (_NUMBER, "0")),
    **dict.fromkeys(("blob_id", "destination_id", "route_id", "user_id"), (_ID, "NULL")),
    **dict.fromkeys(("created_at", "updated_at"), (_TIME, _NOW)),
    **dict.fromkeys(("expires_at", "deliver_by", "delay_reported_at", "not_before"), (_PERHAPS, "NULL")),
    "next_retry_at": (_PERHAPS, _NOW),
    **dict.fromkeys(("from_address", "to_address", "message_key", "via", "notify", "orcpt"), (_TEXT, "''")),
    **dict.fromkeys(("ret", "envid", "body", "deliver_mode", "wish"), (_TEXT, "''")),
    "last_error": (_SAID, "NULL"),
    "prefix": (_OCTETS, "x''"),
}
_SELECT = f"SELECT id, {', '.join(_COLUMNS)} FROM message_queue WHERE "

# What a claim reads, in its order.
CLAIMED = (
    "id", "message_key", "from_address", "to_address", "prefix", "blob_id", "size", "priority", "attempts",
    "created_at", "expires_at", "route_id", "user_id", "via", "notify", "orcpt", "ret", "envid", "body", "smtputf8",
    "deliver_by", "deliver_mode", "delay_reported_at", "last_error", "wish",
)  # fmt: skip
_HOLDS = [_COLUMNS[name][0].holds if name in _COLUMNS else None for name in CLAIMED]
_TIMES = [at for at, name in enumerate(CLAIMED) if name in _COLUMNS and _COLUMNS[name][0].words == _TIME.words]
_good: set[tuple[type, ...]] = set()  # types of rows that could be read

# A text comes behind all numbers in an index of SQLite, so these are seeks, whatever the planner thinks of the status.
# The indexes have no rows that are being sent: what their sender or his end leaves of those waits again.
_WAITS = "status <> 'processing' AND +status NOT IN ('held', 'failed')"
_STRAYED = (
    f"SELECT id FROM message_queue WHERE next_retry_at >= '' AND {_WAITS} LIMIT ?",
    f"SELECT id FROM message_queue WHERE priority >= '' AND {_WAITS} LIMIT ?",
)


class Fault(NamedTuple):
    """A value that is not `wanted`; `fix` is SQL."""

    queue_id: int
    column: str
    value: object
    wanted: str
    fix: str

    def __str__(self) -> str:
        return f"{self.column} is {repr(self.value)[:80]}, which is no {self.wanted}"


def find(tx: Tx) -> list[Fault]:
    """Every value that cannot be read. Reads all rows; none on PostgreSQL."""
    if tx.engine != "sqlite":
        return []
    texts = [name for name, (kind, _) in _COLUMNS.items() if kind.words == "text"]
    times = [name for name, (kind, _) in _COLUMNS.items() if kind.words == _TIME.words]
    wrong = [f"typeof({name}) NOT IN ('text', 'null')" for name in texts]
    wrong += [f"typeof({name}) NOT IN ('integer', 'null')" for name in _COLUMNS if name not in (*texts, "prefix")]
    wrong += [f"coalesce({name}, 0) NOT BETWEEN 0 AND {END_OF_TIME - 1}" for name in times]
    wrong.append("typeof(prefix) <> 'blob'")
    return [fault for row in tx.rows(f"{_SELECT}{' OR '.join(wrong)} ORDER BY id") for fault in _faults(row)]


def readable(row: Row) -> bool:
    """Whether a row can be worked with whose values are those of CLAIMED. Quick for one with the types of another."""
    shape = tuple(map(type, row))
    if shape not in _good:
        if not all(holds is None or holds(value) for holds, value in zip(_HOLDS, row, strict=True)):
            return False
        _good.add(shape)
    return all(row[at] is None or 0 <= row[at] < END_OF_TIME for at in _TIMES)


def set_aside(tx: Tx, ids: Sequence[int]) -> int:
    """Hold those of these rows that cannot be read, each with the reason; how many."""
    if not ids:
        return 0
    condition, values = tx.among("id", ids)
    held = 0
    for row in tx.rows(_SELECT + condition, (values,)):
        faults = _faults(row)
        if not faults:
            continue
        held += 1
        why = f"this row cannot be read: {'; '.join(map(str, faults))}. `pillarbox check` says how to mend it"
        tx.run(
            "UPDATE message_queue SET status = 'held', next_retry_at = NULL, claimed_by = '', last_error = ?, "
            "updated_at = ? WHERE id = ?",
            (why, tx.now, row[0]),
        )
        given = dict(zip(_COLUMNS, row[1:], strict=True))
        key, sender, to = (_text(given[name]) for name in ("message_key", "from_address", "to_address"))
        add_events(tx, [Event(tx.now * 1000, key, "held", sender, to, row[0], json.dumps({"text": why}))])
        log.error("A row of the queue was held: %s", why, queue_id=row[0])
    return held


def sweep(tx: Tx, limit: int) -> int:
    """Hold rows that wait and that no search for what is due would ever find; how many."""
    if tx.engine != "sqlite":
        return 0
    return set_aside(tx, [row[0] for sql in _STRAYED for row in tx.rows(sql, (limit,))])


def _faults(row: Row) -> list[Fault]:
    return [
        Fault(row[0], name, value, kind.words, f"UPDATE message_queue SET {name} = {fix} WHERE id = {row[0]}")
        for (name, (kind, usual)), value in zip(_COLUMNS.items(), row[1:], strict=True)
        if not kind.holds(value)
        for fix in (f"CAST({name} AS TEXT)" if kind.words == "text" and _is_text(value) else usual,)
    ]


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, bytes) and bool(value.decode())
    except UnicodeDecodeError:
        return False


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
