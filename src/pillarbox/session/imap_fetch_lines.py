"""FETCH responses made by the page: a template for the items that were asked for, and a column of values for each.

What the session knows itself (FLAGS, UID, sizes, dates) comes from its columns, what was computed at delivery
(ENVELOPE, BODYSTRUCTURE, the header fields that lists show) from summaries, and from the rows of the store where these
do not reach. Some thousand messages a millisecond of the first kind, about a thousand by summaries, some hundred by
rows. A message that has more to tell than is kept short there is left to `imap_fetch`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from pillarbox.imap import flags as imap_flags
from pillarbox.imap.dates import internal_date
from pillarbox.imap.fetch import FetchItem, Item, Section
from pillarbox.imap.responses import string
from pillarbox.mime.header import LISTED, LISTED_FIRST, lists_all, select_in_each
from pillarbox.session.imap_fetch_pages import WORTH, Page, along, pages, taken
from pillarbox.session.imap_selected import Selected
from pillarbox.store import messages, summaries
from pillarbox.store.errors import Corrupt
from pillarbox.store.summaries import KINDS, Place

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

LINES = 512  # messages of a page that is made of the session's columns
ROWS = 200  # of one that is read from rows of the store

_Columns = Sequence[Sequence[Any]]
_Values = Callable[[Page, _Columns], _Columns]  # of a page and what is stored of it: a column for each place of a field

_FLAGS = tuple(imap_flags.render(bits) for bits in range(32))
_STORED = {Item.ENVELOPE: "envelope", Item.BODYSTRUCTURE: "bodystructure", Item.BODY: "body", Item.PREVIEW: "preview"}


class Lines:
    """The response lines for a list of items."""

    def __init__(self, session: ImapSession, selected: Selected, items: Sequence[FetchItem]) -> None:
        """Every item is one for which `fits` is true."""
        self._session = session
        self._selected = selected
        self._names: list[str] = []  # of the stored values, in the order of their columns
        self._all_listed = False  # header fields are asked for that older versions did not keep
        verb = b"UIDFETCH" if session.uid_only else b"FETCH"
        fields = []
        self._columns: list[_Values] = []
        for item in items:
            field, values = self._section(item) if isinstance(item, Section) else self._item(item)
            fields.append(field)
            self._columns.append(values)
        self._template = b"* %d " + verb + b" (" + b" ".join(fields) + b")\r\n"
        self._repeated = (1, self._template)

    async def answers(self, picks: Sequence[range]) -> AsyncIterator[tuple[Page, bytes | None]]:
        """The responses for the picked messages, page by page; None for those that the rows do not keep short."""
        if not self._names:
            for page in pages(picks, LINES):
                yield page, self._render(page, ())
            return
        places = await self._places(picks)
        for page, place in along(picks, self._selected.uids, places, ROWS):
            stored = await (self._rows(page) if place is None else self._summary(page, place))
            if self._all_listed:
                at = self._stored("header")
                stored = [*stored]
                stored[at] = [header if header is not None and lists_all(header) else None for header in stored[at]]
            for part, columns in _at_hand(page, stored):
                yield part, None if columns is None else self._render(part, columns)

    def _render(self, page: Page, stored: _Columns) -> bytes:
        first: Sequence[int]
        if self._session.uid_only:
            first = taken(self._selected.uids, page)
        else:
            first = range(page.start + 1, page.stop + 1) if isinstance(page, range) else [at + 1 for at in page]
        columns = [column for values in self._columns for column in values(page, stored)]
        if self._repeated[0] != len(page):
            self._repeated = (len(page), self._template * len(page))
        return self._repeated[1] % tuple(chain.from_iterable(zip(first, *columns, strict=True)))

    # What the store has of it.

    async def _places(self, picks: Sequence[range]) -> list[Place]:
        """The summaries that may be worth reading."""
        if sum(map(len, picks)) * WORTH < summaries.SPAN or any(name not in KINDS for name in self._names):
            return []
        selected = self._selected
        first, last = selected.uids[picks[0].start], selected.uids[picks[-1].stop - 1]
        return await self._session.store.read(summaries.places, selected.mailbox_id, first, last)

    async def _rows(self, page: Page) -> _Columns:
        return await self._session.store.read(messages.listed, list(taken(self._selected.ids, page)), self._names)

    async def _summary(self, page: Page, place: Place) -> _Columns:
        """By a summary, and by rows what it has not."""
        found = None
        with suppress(Corrupt):  # `pillarbox check` tells of it: the rows are still good
            found = await self._session.store.read(summaries.read, place.id, self._names)
        if found is None:
            return await self._rows(page)
        ids, columns = found
        wanted = list(taken(self._selected.ids, page))
        if wanted == ids:
            return columns
        where = {row_id: at for at, row_id in enumerate(ids)}
        others = [index for index, row_id in zip(page, wanted, strict=True) if row_id not in where]
        if others:
            where |= {self._selected.ids[index]: len(ids) + at for at, index in enumerate(others)}
            columns = [[*kept, *more] for kept, more in zip(columns, await self._rows(others), strict=True)]
        order = [where[row_id] for row_id in wanted]
        return [[column[at] for at in order] for column in columns]

    def _stored(self, name: str) -> int:
        """Where a stored value stands among the columns."""
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    # The fields of the template, and what is put in.

    def _item(self, item: FetchItem) -> tuple[bytes, _Values]:
        selected = self._selected
        match item:
            case Item.FLAGS:
                return b"FLAGS %b", lambda page, _: [self._flags(page)]
            case Item.UID:
                return b"UID %d", lambda page, _: [taken(selected.uids, page)]
            case Item.RFC822_SIZE:
                return b"RFC822.SIZE %d", lambda page, _: [taken(selected.sizes, page)]
            case Item.INTERNALDATE:
                return b"INTERNALDATE %b", lambda page, _: [[internal_date(d) for d in taken(selected.dates, page)]]
            case Item.SAVEDATE:
                return b"SAVEDATE %b", lambda page, _: [[internal_date(d) for d in taken(selected.save_dates, page)]]
            case Item.MODSEQ:
                return b"MODSEQ (%d)", lambda page, _: [taken(selected.modseqs, page)]
            case Item.PREVIEW:
                at, utf8 = self._stored("preview"), self._session.utf8
                return b"PREVIEW %b", lambda _, stored: [[string(text.encode(), utf8) for text in stored[at]]]
            case Item():
                at = self._stored(_STORED[item])
                return item.value + b" %b", lambda _, stored: [stored[at]]
        raise TypeError(f"no line has {item!r}")

    def _section(self, section: Section) -> tuple[bytes, _Values]:
        """BODY[HEADER.FIELDS (...)] of the fields that lists show."""
        at = self._stored("header")
        self._all_listed |= not section.fields <= LISTED_FIRST

        def values(_: Page, stored: _Columns) -> _Columns:
            chosen = select_in_each(stored[at], section.fields)
            return [[len(octets) + 2 for octets in chosen], chosen]

        return section.label.replace(b"%", b"%%") + b" {%d}\r\n%b\r\n", values

    def _flags(self, page: Page) -> list[bytes]:
        selected, recent = self._selected, self._session.recent_shown
        if selected.keywords or (recent and page and selected.uids[page[-1]] >= selected.recent_from):
            return [selected.render_flags(at, recent=recent) for at in page]
        return [_FLAGS[bits] for bits in taken(selected.flags, page)]


def fits(items: Sequence[FetchItem], *, marks: bool) -> bool:
    """Whether all of these can be told by lines. `marks`: reading a section sets \\Seen, unless it is a PEEK."""
    return all(_fits(item, marks) for item in items)


_FITTING = frozenset({Item.FLAGS, Item.UID, Item.INTERNALDATE, Item.RFC822_SIZE, Item.MODSEQ, Item.SAVEDATE, *_STORED})


def _fits(item: FetchItem, marks: bool) -> bool:
    if not isinstance(item, Section):
        return item in _FITTING
    header = item.kind == "BODY" and not item.part and item.text == "HEADER.FIELDS" and item.partial is None
    return header and (item.peek or not marks) and item.fields <= LISTED


def _at_hand(page: Page, stored: _Columns) -> Iterator[tuple[Page, _Columns | None]]:
    """The page in parts of which everything was stored, and those of which something was not (None)."""
    if all(all(column) or None not in column for column in stored):
        yield page, stored
        return
    lacking = [None in values for values in zip(*stored, strict=True)]
    at = 0
    for lacks, run in groupby(lacking):
        end = at + len(list(run))
        yield page[at:end], None if lacks else [column[at:end] for column in stored]
        at = end
