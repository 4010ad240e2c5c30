"""FETCH responses made by the page: a template for the items that were asked for, and a column of values for each.

What the session knows itself (FLAGS, UID, sizes, dates) comes from its columns, what was computed at delivery
(ENVELOPE, BODYSTRUCTURE, the header fields that lists show) from the rows of the store. Some thousand messages a
millisecond of the first kind, some hundred of the second. A page in which a message has more to tell than the rows keep
short is left to `imap_fetch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pillarbox.imap import flags as imap_flags
from pillarbox.imap.dates import internal_date
from pillarbox.imap.fetch import FetchItem, Item, Section
from pillarbox.imap.responses import string
from pillarbox.mime.header import LISTED, select_fields
from pillarbox.session.imap_sections import without_nul
from pillarbox.session.imap_selected import Selected
from pillarbox.store import messages
from pillarbox.store.tx import Row

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

LINES = 512  # messages of a page that is made of the session's columns
ROWS = 200  # of one that is read from the store

Page = Sequence[int]
"""Indexes of messages, ascending; a range where they stand together."""

_Values = Callable[[Page, Sequence[Row]], Sequence[Any]]

_FLAGS = tuple(imap_flags.render(bits) for bits in range(32))
_STORED = {Item.ENVELOPE: "envelope", Item.BODYSTRUCTURE: "bodystructure", Item.BODY: "body", Item.PREVIEW: "preview"}


class Lines:
    """The response lines for a list of items."""

    def __init__(self, session: ImapSession, selected: Selected, items: Sequence[FetchItem]) -> None:
        """Every item is one for which `fits` is true."""
        self._session = session
        self._selected = selected
        self._names: list[str] = []  # of the stored values, in the order of the rows
        verb = b"UIDFETCH" if session.uid_only else b"FETCH"
        fields = []
        self._columns: list[_Values] = []
        for item in items:
            field, values = self._section(item) if isinstance(item, Section) else self._item(item)
            fields.append(field)
            self._columns.append(values)
        self._template = b"* %d " + verb + b" (" + b" ".join(fields) + b")\r\n"

    @property
    def page(self) -> int:
        """How many messages a page should have."""
        return ROWS if self._names else LINES

    async def render(self, page: Page) -> bytes | None:
        """The responses for a page; None when a row does not have all that is asked for, or has gone."""
        rows: Sequence[Row] = ()
        if self._names:
            ids = _taken(self._selected.ids, page)
            found = await self._session.store.read(messages.listed, ids, self._names)
            if found is None:
                return None
            rows = found
        first: Sequence[int]
        if self._session.uid_only:
            first = _taken(self._selected.uids, page)
        else:
            first = range(page.start + 1, page.stop + 1) if isinstance(page, range) else [at + 1 for at in page]
        lines = zip(first, *(values(page, rows) for values in self._columns), strict=True)
        return b"".join(map(self._template.__mod__, lines))

    def _item(self, item: FetchItem) -> tuple[bytes, _Values]:
        selected = self._selected
        match item:
            case Item.FLAGS:
                return b"FLAGS %b", lambda page, _: self._flags(page)
            case Item.UID:
                return b"UID %d", lambda page, _: _taken(selected.uids, page)
            case Item.RFC822_SIZE:
                return b"RFC822.SIZE %d", lambda page, _: _taken(selected.sizes, page)
            case Item.INTERNALDATE:
                return b"INTERNALDATE %b", lambda page, _: [internal_date(d) for d in _taken(selected.dates, page)]
            case Item.SAVEDATE:
                return b"SAVEDATE %b", lambda page, _: [internal_date(d) for d in _taken(selected.save_dates, page)]
            case Item.MODSEQ:
                return b"MODSEQ (%d)", lambda page, _: _taken(selected.modseqs, page)
            case Item.PREVIEW:
                at, utf8 = self._stored("preview"), self._session.utf8
                return b"PREVIEW %b", lambda _, rows: [string(row[at].encode(), utf8) for row in rows]
            case Item():
                at = self._stored(_STORED[item])
                return item.value + b" %b", lambda _, rows: [row[at] for row in rows]
        raise TypeError(f"no line has {item!r}")

    def _section(self, section: Section) -> tuple[bytes, _Values]:
        """BODY[HEADER.FIELDS (...)] of the fields that lists show."""
        prefix, listed = self._stored("prefix"), self._stored("listed")

        def values(_: Page, rows: Sequence[Row]) -> list[bytes]:
            chosen = [without_nul(select_fields(row[prefix] + row[listed], section.fields)) for row in rows]
            return [b"{%d}\r\n%b" % (len(octets), octets) for octets in chosen]

        return section.label.replace(b"%", b"%%") + b" %b", values

    def _stored(self, name: str) -> int:
        """Where a stored value stands in the rows."""
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def _flags(self, page: Page) -> list[bytes]:
        selected, recent = self._selected, self._session.recent_shown
        if selected.keywords or (recent and page and selected.uids[page[-1]] >= selected.recent_from):
            return [selected.render_flags(at, recent=recent) for at in page]
        return [_FLAGS[bits] for bits in _taken(selected.flags, page)]


def fits(items: Sequence[FetchItem], *, marks: bool) -> bool:
    """Whether all of these can be told by lines. `marks`: reading a section sets \\Seen, unless it is a PEEK."""
    return all(_fits(item, marks) for item in items)


_FITTING = frozenset({Item.FLAGS, Item.UID, Item.INTERNALDATE, Item.RFC822_SIZE, Item.MODSEQ, Item.SAVEDATE, *_STORED})


def _fits(item: FetchItem, marks: bool) -> bool:
    if not isinstance(item, Section):
        return item in _FITTING
    header = item.kind == "BODY" and not item.part and item.text == "HEADER.FIELDS" and item.partial is None
    return header and (item.peek or not marks) and item.fields <= LISTED


def pages(picks: Sequence[range], most: int) -> Iterator[Page]:
    """The picked indexes in pages of at most so many."""
    waiting: list[int] = []
    for pick in picks:
        for start in range(pick.start, pick.stop, most):
            part = range(start, min(start + most, pick.stop))
            if len(waiting) + len(part) > most:
                yield _together(waiting)
                waiting = []
            waiting += part
    if waiting:
        yield _together(waiting)


def _together(page: list[int]) -> Page:
    return range(page[0], page[-1] + 1) if page[-1] - page[0] + 1 == len(page) else page


def _taken(column: Sequence[int], page: Page) -> Sequence[int]:
    if isinstance(page, range):
        return column[page.start : page.stop]
    return [column[at] for at in page]
