"""What messages are sorted and threaded by: stored columns, read by the ids of a view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pillarbox.store.tx import Row, Tx

PAGE = 1000  # rows at a time

COLUMNS = frozenset({"sent_at", "subject", "base_subject", "message_id", "in_reply_to", "refs", "envelope"})

_FROM = (
    "FROM messages m JOIN blobs b ON b.id = m.blob_id WHERE ",
    "FROM expunged m JOIN blobs b ON b.id = m.blob_id WHERE ",
)


def facts(tx: Tx, ids: Sequence[int], columns: Sequence[str]) -> Iterator[Row | None]:
    """For each of `View.ids` the columns (of COLUMNS); None for a message that is gone for good.

    For `store.scan`: any number of them.
    """
    assert COLUMNS.issuperset(columns)
    chosen = ", ".join(f"b.{column}" for column in columns)
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        found: dict[int, Row] = {}
        for source in _FROM:
            missing = [id for id in page if id not in found]
            if not missing:
                break
            condition, values = tx.among("m.id", missing)
            for row in tx.rows(f"SELECT m.id, {chosen} {source}{condition}", (values,)):
                found[row[0]] = row[1:]
        for id in page:
            yield found.get(id)
