"""SORT: what a search found, put in order in a reader thread by stored columns (RFC 5256, RFC 5957)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pillarbox.imap import sort as sorting
from pillarbox.imap.comparator import DEFAULT, Comparator
from pillarbox.mime import envelope_reader
from pillarbox.session import imap_annotations
from pillarbox.session.imap_selected import Selected
from pillarbox.store import Tx
from pillarbox.store.search_facts import facts

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_ADDRESSES = {"CC": "cc", "FROM": "from", "TO": "to", "DISPLAYFROM": "from", "DISPLAYTO": "to"}


async def in_order(
    session: ImapSession,
    selected: Selected,
    criteria: Sequence[sorting.Criterion],
    found: Sequence[int],
    scores: Mapping[int, int],
    comparator: Comparator = DEFAULT,
) -> list[int]:
    """Indexes of messages, ascending before, in the order of SORT. `scores`: their relevancy, the best come first."""
    if len(found) < 2:
        return list(found)
    ids, dates = picked(selected, found)
    sizes = [selected.sizes[at] for at in found]
    scored = [-scores.get(at, 0) for at in found]
    columns: dict[str, Sequence[Any]] = {"ARRIVAL": dates, "SIZE": sizes, "RELEVANCY": scored}
    for one in criteria:
        if one.annotation is not None:
            columns[one.column] = await imap_annotations.column(session, selected, *one.annotation, found, comparator)
    return await session.store.scan(arranged, criteria, found, ids, columns, comparator)


def picked(selected: Selected, found: Sequence[int]) -> tuple[list[int], list[int]]:
    """Row ids and internal dates of the messages at these indexes."""
    return [selected.ids[at] for at in found], [selected.dates[at] for at in found]


def arranged(
    tx: Tx,
    criteria: Sequence[sorting.Criterion],
    found: Sequence[int],
    ids: Sequence[int],
    known: Mapping[str, Sequence[Any]],
    comparator: Comparator = DEFAULT,
) -> list[int]:
    """`found` in the order of the criteria; their row ids are `ids`, and `known` has columns for criteria."""
    criteria = sorting.in_direction(criteria, comparator)
    names = {criterion.name for criterion in criteria}
    columns: dict[str, Sequence[Any]] = dict(known)
    dates = known["ARRIVAL"]
    stored: list[str] = []
    if "DATE" in names:
        stored.append("sent_at")
    if "SUBJECT" in names:
        stored.append("base_subject")
    if names & _ADDRESSES.keys():
        stored.append("envelope")
    if stored:
        made: list[tuple[str, list[Any], Callable[[Any], Any]]] = []
        for name in names & (_ADDRESSES.keys() | {"DATE", "SUBJECT"}):
            values: list[Any] = []
            columns[name] = values
            made.append((_stored_in(name), values, _key_of(name, comparator.key)))
        for at, row in enumerate(facts(tx, ids, stored)):
            values_of = dict(zip(stored, row, strict=True)) if row is not None else {}
            for column, values, key in made:
                value = values_of.get(column)
                if column == "sent_at":
                    values.append(dates[at] if value is None else value)  # RFC 5256 section 2.2
                else:
                    values.append("" if value is None else key(value))
    return sorting.in_order(found, criteria, columns.__getitem__)


def _stored_in(name: str) -> str:
    """The column that a criterion needs."""
    return {"DATE": "sent_at", "SUBJECT": "base_subject"}.get(name, "envelope")


def _key_of(name: str, text_key: Callable[[str], str]) -> Callable[[Any], Any]:
    if name not in _ADDRESSES:
        return text_key if name == "SUBJECT" else int
    field, shown = _ADDRESSES[name], name.startswith("DISPLAY")

    def key(envelope: bytes) -> str:
        first = envelope_reader.addresses(envelope, field, 1)
        if not first:
            return ""
        name, mailbox, host = first[0]
        return text_key(sorting.display(name, mailbox, host) if shown else mailbox)

    return key
