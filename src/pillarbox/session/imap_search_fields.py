"""What summaries tell of header fields: the keys of a search program that they answer, as masks over the columns.

SUBJECT, FROM, TO, CC, BCC and SENTSINCE with its kin are looked up in the texts packed beside summaries, HEADER in the
fields that lists show, 256 messages at a time; messages that no summary has, by a few columns of their rows. What both
do not keep (a very long value, another comparator's texts) stays unknown and is asked of the message itself.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from pillarbox.imap import search
from pillarbox.imap.comparator import Comparator
from pillarbox.mime.casemap import casemap
from pillarbox.mime.header import LISTED, LISTED_FIRST, decoded_value, lists_all, select_in_each, text_of
from pillarbox.session.imap_fetch_pages import Page, along, taken
from pillarbox.session.imap_search_plan import Asked, Looked, span
from pillarbox.session.imap_selected import Selected
from pillarbox.store import Tx, messages, summaries, summary_texts
from pillarbox.store.errors import Corrupt
from pillarbox.store.summaries import Place
from pillarbox.store.summary_texts import ADDRESSES, BETWEEN, TEXTS

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

FEW = 8  # messages, up to which these are asked themselves
ROWS = 200  # messages in a page that is looked through by rows
MASKS = 8 << 20  # octets of answers to a program; what is more is asked of the messages
_VISIT = 40  # pages in one visit to a reader thread
_BY_ROWS = 8  # as many pages of summaries take as long as one by rows

NO, YES, UNKNOWN = range(3)
_SURE, _NOT_KNOWN = bytes([0, 1, 0]) + bytes(253), bytes([0, 0, 1]) + bytes(253)  # translate answers into masks
_UNSURE = bytes([NO, UNKNOWN, UNKNOWN]) + bytes(253)
_RUN = re.compile(rb"\x01+")

Column = Sequence[Any]  # a value for each message of a page; None: not kept
Answer = Callable[[Column], bytes]
"""NO, YES or UNKNOWN for each message."""


class Question:
    """A key of a search program, the column that answers it, and how."""

    __slots__ = ("answer", "column", "key")

    def __init__(self, key: Asked, column: str, answer: Answer) -> None:
        self.key = key
        self.column = column  # of `summary_texts.NAMES`, or "header"
        self.answer = answer


Work = Sequence[tuple[Sequence[int], Place | None]]
"""Pages: row ids of messages, and the summary that has most of them."""


async def looked_up(
    session: ImapSession, key: search.Key, selected: Selected, mask: int, comparator: Comparator
) -> dict[Asked, Looked]:
    """For each key that summaries answer what they say of the messages of `mask`; empty when these are few."""
    if mask.bit_count() <= FEW:
        return {}
    questions = [one for asked in dict.fromkeys(_asked(key)) if (one := _question(asked, comparator)) is not None]
    questions = questions[: MASKS // len(selected)]
    if not questions:
        return {}
    wanted = mask.to_bytes(len(selected), "little")
    picks = [range(*match.span()) for match in _RUN.finditer(wanted)]
    first, last = selected.uids[picks[0].start], selected.uids[picks[-1].stop - 1]
    store = session.store
    places = await store.read(summaries.places, selected.mailbox_id, first, last)
    said = [bytearray(len(selected)) for _ in questions]
    pages = along(picks, selected.uids, places, ROWS)
    for some in _visits(pages, questions):
        work = [(list(taken(selected.ids, page)), place) for page, place in some]
        for (page, _), answers in zip(some, await store.scan(answered, questions, work), strict=True):
            for column, values in zip(said, answers, strict=True):
                _put(column, page, values)
        session.active()
    return {
        one.key: Looked(_mask(column.translate(_SURE)), _mask(column.translate(_NOT_KNOWN)))
        for one, column in zip(questions, said, strict=True)
    }


def _visits(
    pages: Iterable[tuple[Page, Place | None]], questions: Sequence[Question]
) -> Iterator[list[tuple[Page, Place | None]]]:
    more = len(questions) // 16 + sum(one.column == "header" for one in questions)
    some: list[tuple[Page, Place | None]] = []
    weight = 0
    for page, place in pages:
        some.append((page, place))
        weight += more + (_BY_ROWS if place is None else 1)
        if weight >= _VISIT:
            yield some
            some, weight = [], 0
    if some:
        yield some


def _put(column: bytearray, page: Page, values: bytes) -> None:
    if isinstance(page, range):
        column[page.start : page.stop] = values
    else:
        for index, value in zip(page, values, strict=True):
            column[index] = value


def _mask(octets: bytearray) -> int:
    return int.from_bytes(octets, "little")


def _asked(key: search.Key) -> Iterator[search.Header | search.Sent]:
    return (one for one in search.leaves(key) if isinstance(one, search.Header | search.Sent))


def _question(key: search.Header | search.Sent, comparator: Comparator) -> Question | None:
    """None for what summaries do not answer."""
    match key:
        case search.Sent(relation, day):
            return Question(key, "sent", _days(*span(relation, day, day + 1)))
        case search.Header(name, text, True) if text and name in TEXTS:
            if name in ADDRESSES and BETWEEN in casemap(text):
                return None  # it would be found across two addresses
            return Question(key, name, _texts(casemap(text), sure=comparator.key is casemap))
        case search.Header(name, text) if name.encode() in LISTED:
            return Question(key, "header", _fields(name.encode(), text, comparator.key))
    return None


# In a reader thread.


def answered(tx: Tx, questions: Sequence[Question], work: Work) -> list[list[bytes]]:
    """For each page the answer to each question, in the order of its messages."""
    texts = list(dict.fromkeys(one.column for one in questions if one.column != "header"))
    header = len(texts) < len({one.column for one in questions})
    found = []
    for ids, place in work:
        columns = _columns(tx, ids, place, texts) if texts else {}
        if header:
            columns["header"] = _headers(tx, ids, place)
        found.append([one.answer(columns[one.column]) for one in questions])
    return found


def _columns(tx: Tx, ids: Sequence[int], place: Place | None, names: Sequence[str]) -> dict[str, Column]:
    stored = None
    if place is not None:
        with suppress(Corrupt):  # `pillarbox check` tells of it: the rows are still good
            stored = summary_texts.read(tx, place.id, names)
    if stored is None:
        return summary_texts.of_rows(tx, ids, names)
    return _arranged(ids, *stored, lambda missing: summary_texts.of_rows(tx, missing, names))


def _headers(tx: Tx, ids: Sequence[int], place: Place | None) -> Column:
    stored = None
    if place is not None:
        with suppress(Corrupt):
            stored = summaries.read(tx, place.id, ["header"])

    def of_rows(ids: Sequence[int]) -> dict[str, Column]:
        return {"header": messages.listed(tx, ids, ["header"])[0]}

    if stored is None:
        return of_rows(ids)["header"]
    return _arranged(ids, stored[0], {"header": stored[1][0]}, of_rows)["header"]


def _arranged(
    wanted: Sequence[int],
    ids: Sequence[int],
    columns: dict[str, Column],
    others: Callable[[Sequence[int]], dict[str, Column]],
) -> dict[str, Column]:
    """Columns of the messages with row ids `ids` as columns of those `wanted`; what is missing tell the `others`."""
    if wanted == ids:
        return columns
    where = {row_id: at for at, row_id in enumerate(ids)}
    if missing := [row_id for row_id in wanted if row_id not in where]:
        where |= {row_id: len(ids) + at for at, row_id in enumerate(missing)}
        more = others(missing)
        columns = {name: [*column, *more[name]] for name, column in columns.items()}
    order = [where[row_id] for row_id in wanted]
    return {name: [column[at] for at in order] for name, column in columns.items()}


def _texts(needle: str, *, sure: bool) -> Answer:
    """Keys are made character by character: what one comparator finds is found by i;unicode-casemap too."""

    def answer(column: Column) -> bytes:
        if None in column:
            found = bytes([UNKNOWN if text is None else needle in text for text in column])
        else:
            found = bytes(map(operator.contains, column, repeat(needle)))
        return found if sure else found.translate(_UNSURE)

    return answer


def _days(start: int, end: int) -> Answer:
    return lambda column: bytes([UNKNOWN if day is None else start <= day < end for day in column])


def _fields(name: bytes, text: str, key: Callable[[str], str]) -> Answer:
    """HEADER: of the fields that lists show, of which one is chosen."""
    names, needle = frozenset({name}), key(text)
    plain = text_of if " " in needle else partial(str, encoding="ascii")  # folds become spaces, and CR and LF

    def may_hold(fields: bytes) -> bool:
        """Without encoded words a value is its octets: most pages are looked through as one text."""
        return not fields.isascii() or b"=?" in fields or needle in key(plain(fields))

    def answer(column: Column) -> bytes:
        known = _with_field(column, name)
        lacking = None in known
        chosen = select_in_each([header or b"" for header in known] if lacking else known, names)
        if not text:
            found = bytes(map(bool, chosen))  # the field exists, RFC 9051 section 6.4.4
        elif not may_hold(b"".join(chosen)):
            found = bytes(len(chosen))
        else:
            found = bytes(
                [may_hold(one) and any(needle in key(value) for value in decoded_value(one, name)) for one in chosen]
            )
        if lacking:
            found = bytes([UNKNOWN if header is None else value for header, value in zip(known, found, strict=True)])
        return found

    return answer


def _with_field(headers: Column, name: bytes) -> Column:
    """None in the place of a header in which that field may be missing or is not told as it is."""
    if name not in LISTED_FIRST:
        headers = [header if header is not None and lists_all(header) else None for header in headers]
    if b"\0" in b"".join(filter(None, headers)):
        headers = [None if header is None or b"\0" in header else header for header in headers]
    return headers
