"""The messages of a mailbox as a session holds them: columns of UIDs, flags, mod-sequences, sizes and dates.

Message number n is index n - 1. Sessions that select the same mailbox in the same state hold the same columns, until
one of them has news: whoever changes columns that others hold takes a copy of its own first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from pillarbox.imap.sequence import compact
from pillarbox.store.records import Mailbox, MessageRow, View

Keywords = tuple[str, ...]

_WITHOUT = {bit: bytes(not value & bit for value in range(256)) for bit in (1, 2, 4, 8, 16)}  # by flag

_COLUMNS = ("uids", "flags", "modseqs", "sizes", "dates", "ids", "save_dates")
_FEW = 8  # gaps that are closed by moving what is behind them
_SOME = 4096  # messages looked through at a time: most often few of them tell


class _Holders:
    """How many hold the same columns."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 1


class Columns:
    """All of one mailbox: octets in `sizes`, epoch seconds in `dates`, row ids in `ids`, keywords by UID."""

    __slots__ = (
        "_box",
        "_holders",
        "dates",
        "flags",
        "highestmodseq",
        "ids",
        "keywords",
        "modseqs",
        "save_dates",
        "sizes",
        "uidnext",
        "uids",
        "words",
    )

    def __init__(self, view: View, beside: Columns | None = None) -> None:
        """`beside`: who has the columns of this view and goes on holding them."""
        self._holders: _Holders | None = None  # if there were several
        if beside is not None:
            self._holders = beside._holders = beside._holders or _Holders()
            self._holders.count += 1
        self.uids: array[int] = view.uids
        self.flags: array[int] = view.flags
        self.modseqs: array[int] = view.modseqs
        self.sizes: array[int] = view.sizes
        self.dates: array[int] = view.dates
        self.ids: array[int] = view.ids
        self.save_dates: array[int] = view.save_dates
        self.keywords: dict[int, Keywords] = view.keywords
        self.words: dict[str, str] = {}  # every keyword that was seen in the mailbox, by lower case
        self.note_words(dict.fromkeys(self.keywords.values()))
        self.reached(view.mailbox)

    def __len__(self) -> int:
        return len(self.uids)

    # As a whole.

    def reached(self, box: Mailbox) -> None:
        """The columns are as new as this row of the mailbox, or newer: statements of one read may see several moments.

        So the numbers never run ahead of the columns, and what was seen too early is only seen again.
        """
        self._box = box
        self.uidnext: int = max(box.uidnext, self.uids[-1] + 1 if self.uids else 1)
        self.highestmodseq: int = box.highestmodseq

    def view(self) -> View:
        """The columns as they are."""
        box = msgspec.structs.replace(self._box, uidnext=self.uidnext, highestmodseq=self.highestmodseq)
        return View(
            box,
            self.uids,
            self.flags,
            self.modseqs,
            self.sizes,
            self.dates,
            self.ids,
            self.save_dates,
            self.keywords,
        )

    def leave(self) -> bool:
        """Hold the columns no longer, if others do; False when nobody else does."""
        if self._holders is None or self._holders.count == 1:
            return False
        self._holders.count -= 1
        return True

    def _own(self) -> None:
        """The columns are about to be changed."""
        holders, self._holders = self._holders, None
        if holders is None or holders.count == 1:
            return
        holders.count -= 1
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[:])
        self.keywords = self.keywords.copy()

    # Which messages.

    def index(self, uid: int) -> int:
        """Where a UID stands, or -1."""
        at = bisect_left(self.uids, uid)
        return at if at < len(self.uids) and self.uids[at] == uid else -1

    def indexes(self, uids: Sequence[int]) -> Sequence[int]:
        """Where ascending UIDs stand, -1 for one that is not there."""
        low = bisect_left(self.uids, uids[0]) if uids else 0
        if self.uids[low : low + len(uids)].tolist() == uids:
            return range(low, low + len(uids))  # most often they stand together
        return [self.index(uid) for uid in uids]

    def first_without(self, bit: int) -> int:
        """The number of the first message without this flag, 0 when all have it."""
        start, stop = 0, 64  # it is among the first or, where nearly all have it, far behind
        while start < len(self.flags):
            at = self.flags[start:stop].tobytes().translate(_WITHOUT[bit]).find(1)
            if at >= 0:
                return start + at + 1
            start, stop = stop, stop * 8
        return 0

    def newer(self, among: range, modseq: int) -> list[int]:
        """Which of these indexes have a higher mod-sequence; where none has, a look at the highest tells."""
        found: list[int] = []
        for start in range(among.start, among.stop, _SOME):
            page = self.modseqs[start : min(start + _SOME, among.stop)]
            if max(page) > modseq:
                found += [at for at, one in enumerate(page, start) if one > modseq]
        return found

    # Changes.

    def set_flags(self, uid: int, bits: int, keywords: Keywords, modseq: int) -> int:
        """Take the flags of a message as they are now. Its index, or -1."""
        at = self.index(uid)
        if at >= 0:
            self.put_flags(at, bits, keywords, modseq)
        return at

    def put_flags(self, at: int, bits: int, keywords: Keywords, modseq: int) -> None:
        """`set_flags` of the message that stands at this index."""
        if modseq < self.modseqs[at]:
            return
        if self._holders is not None:
            self._own()
        self.flags[at] = bits
        self.modseqs[at] = modseq
        if keywords:
            self.keywords[self.uids[at]] = keywords
            self.note_words((keywords,))
        elif self.keywords:
            self.keywords.pop(self.uids[at], None)

    def append(self, row: MessageRow) -> bool:
        """A message has come; False for one that is no news: UIDs only ascend, so what appears below was there."""
        uid = row.uid
        if self.uids and uid <= self.uids[-1]:
            return False
        if self._holders is not None:
            self._own()
        self.uids.append(uid)
        self.flags.append(row.flags)
        self.modseqs.append(row.modseq)
        self.sizes.append(row.size)
        self.dates.append(row.internal_date)
        self.ids.append(row.id)
        self.save_dates.append(row.save_date)
        if row.keywords:
            self.keywords[uid] = row.keywords
            self.note_words((row.keywords,))
        return True

    def note_words(self, groups: Iterable[Keywords]) -> None:
        """These keywords are in the mailbox."""
        for keywords in groups:
            for word in keywords:
                self.words.setdefault(word.lower(), word)

    def take_out(self, indexes: Sequence[int]) -> None:
        """Messages at these ascending indexes, one at the least, are there no longer."""
        if self._holders is not None:
            self._own()
        if self.keywords:
            for at in indexes:
                self.keywords.pop(self.uids[at], None)
        taken = compact(indexes)
        if len(taken) <= _FEW:
            for name in _COLUMNS:
                column = getattr(self, name)
                for low, high in reversed(taken):
                    del column[low : high + 1]
            return
        keep = _complement(taken, len(self.uids))
        for name in _COLUMNS:
            column = getattr(self, name)
            kept = array(column.typecode)
            for start, stop in keep:
                kept.extend(column[start:stop])
            setattr(self, name, kept)


def _complement(taken: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """(start, stop) of the indexes below `size` that are in none of the inclusive ranges."""
    kept: list[tuple[int, int]] = []
    at = 0
    for low, high in taken:
        if at < low:
            kept.append((at, low))
        at = high + 1
    if at < size:
        kept.append((at, size))
    return kept
