"""What one session knows of its selected mailbox: columns of UIDs, flags, mod-sequences, sizes and dates.

The columns are what the client has been told, or is about to be told: message number n is index n - 1. The store may be
ahead; `take` brings in what it says has changed, and `tell` renders it as untagged responses. In between, new messages
stand at the end, flags are up to date, and messages that are gone keep their place until an EXPUNGE may be sent (RFC
9051 section 7.5.1: never in answer to FETCH, STORE or SEARCH by message numbers).

Sessions that select the same mailbox in the same state hold the same columns, until one of them has news: whoever
changes columns that others hold takes a copy of its own first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from pillarbox.imap import flags as imap_flags
from pillarbox.imap import responses
from pillarbox.imap.sequence import SequenceSet, compact
from pillarbox.store.records import Changes, Expunged, Flagged, Mailbox, StoredFlags, View

if TYPE_CHECKING:
    from pillarbox.session.imap_contexts import Context

Keywords = tuple[str, ...]

_WITHOUT = {bit: bytes(not value & bit for value in range(256)) for bit in (1, 2, 4, 8, 16)}  # by flag

_COLUMNS = ("uids", "flags", "modseqs", "sizes", "dates", "ids", "save_dates")
_FEW = 8  # gaps that are closed by moving what is behind them
_SOME = 4096  # messages looked through at a time: most often few of them tell

EVERY_RIGHT = "lrswipkxtena"


class _Holders:
    """How many hold the same columns."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 1


class Selected:
    """One selected mailbox of one session: octets in `sizes`, epoch seconds in `dates`, row ids in `ids`."""

    __slots__ = (
        "_box",
        "_changed",
        "_entries",
        "_fresh",
        "_gone",
        "_holders",
        "_keyword_names",
        "_new_keywords",
        "_silent",
        "_told",
        "_told_recent",
        "annotatable",
        "annotations_told",
        "arrived",
        "contexts",
        "dates",
        "flags",
        "follow_flags",
        "follow_new",
        "highestmodseq",
        "ids",
        "keywords",
        "mailbox_id",
        "modseqs",
        "name",
        "our_annotations",
        "own",
        "owner_id",
        "read_only",
        "recent_from",
        "rights",
        "save_dates",
        "saved",
        "sizes",
        "uidnext",
        "uids",
        "uidvalidity",
    )

    def __init__(
        self,
        view: View,
        name: str,
        *,
        read_only: bool,
        recent_from: int,
        rights: str = EVERY_RIGHT,
        beside: Selected | None = None,
    ) -> None:
        """`beside`: who has the columns of this view and goes on holding them."""
        box = view.mailbox
        self.owner_id: int = box.user_id
        self.own = True  # it is not a mailbox that somebody else shares
        self.rights = rights  # RFC 4314, as they were when the session looked last
        self.mailbox_id: int = box.id
        self.name = name
        self.read_only = read_only
        self.uidvalidity: int = box.uidvalidity
        self.recent_from = recent_from  # UIDs from here on are \Recent in this session (IMAP4rev1)
        # UIDs that `$` stands for (RFC 5182). Those expunged since drop out when it is used: UIDs do not come back.
        self.saved: SequenceSet | None = None
        self.follow_flags = True  # changes of flags by others are told
        self.follow_new = False  # more than EXISTS is told of new messages
        self._fresh: list[int] = []  # UIDs of those
        self.contexts: dict[bytes, Context] = {}  # searches whose results are kept up to date, by tag
        self.annotatable = True  # annotations can be changed: it was not opened by EXAMINE
        self.annotations_told = False  # the client wants to hear of annotations that others change
        self.our_annotations: set[int] = set()  # modification numbers of changes that this session made
        self._entries: dict[int, dict[str, None]] = {}  # names of annotations that are to be told, by UID
        self._changed: set[int] = set()  # UIDs whose flags are to be told
        self._silent: set[int] = set()  # UIDs of which only the mod-sequence is to be told
        self._gone: set[int] = set()  # UIDs that are to be told as expunged
        self._keyword_names: dict[str, str] = {}  # by lower case; what FLAGS has told
        self._new_keywords = False
        self.arrived = False  # messages have come since it was selected
        self._holders: _Holders | None = None  # of the columns, if there were several
        if beside is not None:
            self._holders = beside._holders = beside._holders or _Holders()
            self._holders.count += 1
        self._load(view)
        self._told = len(self.uids)
        self._told_recent = self.recent()
        self._note_keywords(dict.fromkeys(self.keywords.values()))
        self._new_keywords = False

    def _load(self, view: View) -> None:
        self.uids: array[int] = view.uids
        self.flags: array[int] = view.flags
        self.modseqs: array[int] = view.modseqs
        self.sizes: array[int] = view.sizes
        self.dates: array[int] = view.dates
        self.ids: array[int] = view.ids
        self.save_dates: array[int] = view.save_dates
        self.keywords: dict[int, Keywords] = view.keywords
        self._reached(view.mailbox)

    def _reached(self, box: Mailbox) -> None:
        """The columns are as new as this row of the mailbox, or newer: statements of one read may see several moments.

        So the numbers never run ahead of the columns, and what was seen too early is only seen again.
        """
        self._box = box
        self.uidnext: int = max(box.uidnext, self.uids[-1] + 1 if self.uids else 1)
        self.highestmodseq: int = box.highestmodseq

    def rest(self) -> View:
        """The columns as the store has them, for the next one to begin with; this object is of no use any more."""
        for _ in self.tell(expunge=True, vanished=True, modseq=False, recent=False):
            pass  # nobody is told, but what is gone leaves the columns
        return self.view()

    def let_go(self) -> View | None:
        """`rest`, if nobody else holds the columns."""
        if self._holders is not None and self._holders.count > 1:
            self._holders.count -= 1
            return None
        return self.rest()

    def is_at(self, box: Mailbox) -> bool:
        """The columns are what this row of the mailbox says."""
        known = (self.uidvalidity, self.uidnext, self.highestmodseq)
        return known == (box.uidvalidity, box.uidnext, box.highestmodseq) and not self._gone

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

    def _own(self) -> None:
        """The columns are about to be changed."""
        holders, self._holders = self._holders, None
        if holders is None or holders.count == 1:
            return
        holders.count -= 1
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[:])
        self.keywords = self.keywords.copy()

    def __len__(self) -> int:
        return len(self.uids)

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

    def pick(self, sequence: SequenceSet, *, uid: bool) -> list[range]:
        """The messages that a sequence set names, as ascending index ranges. `$` is the saved search result."""
        if sequence.saved:
            found = self.saved.resolve_uids(self.uids) if self.saved is not None else []
            if sequence.ranges:
                named = SequenceSet(sequence.ranges)
                found = join([*found, *self.pick(named, uid=uid)])
            return found
        return sequence.resolve_uids(self.uids) if uid else sequence.resolve_numbers(len(self.uids))

    def recent(self) -> int:
        """How many messages are \\Recent here."""
        return len(self.uids) - bisect_left(self.uids, self.recent_from)

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

    def render_flags(self, index: int, *, recent: bool) -> bytes:
        """`(\\Seen $Junk)`; with \\Recent if `recent` asks for it and it applies."""
        uid = self.uids[index]
        words = self.keywords.get(uid, ()) if self.keywords else ()
        return imap_flags.render(self.flags[index], words, recent=recent and uid >= self.recent_from)

    def keyword_list(self) -> list[str]:
        """Keywords in use in the mailbox, as FLAGS lists them."""
        return sorted(self._keyword_names.values(), key=str.lower)

    def permanent_flags(self) -> str:
        """The code PERMANENTFLAGS."""
        return responses.permanent_flags(self.keyword_list(), read_only=self.read_only, rights=self.rights)

    # What the store says.

    def set_flags(self, uid: int, bits: int, keywords: Keywords, modseq: int) -> int:
        """Take the flags of a message as they are now, without noting that they are to be told. Its index, or -1."""
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
            self._note_keywords((keywords,))
        elif self.keywords:
            self.keywords.pop(self.uids[at], None)

    def changed_by_us(self, stored: StoredFlags) -> bool:
        """The flags that this session stored were taken: if nobody did anything before, there is no more news."""
        if stored.before != self.highestmodseq:
            return False
        self.highestmodseq = stored.modseq
        return self.own  # else the rights to it may be others now

    def expunged_by_us(self, done: Expunged) -> bool:
        """This session has removed messages; the same."""
        if done.before != self.highestmodseq:
            return False
        self._gone.update(done.uids)
        self.highestmodseq = done.modseq
        return self.own

    def take(self, changes: Changes) -> None:
        """Bring in what `store.changes` found. With its `vanished` None, use `reload` in its place."""
        for uid, bits, keywords, modseq in changes.changed:
            at = self.index(uid)
            if at >= 0 and self.modseqs[at] < modseq:  # what this session did itself is known already
                self.set_flags(uid, bits, keywords, modseq)
                if self.follow_flags:
                    self._changed.add(uid)
        last = self.uids[-1] if self.uids else 0
        for row in changes.new:
            if row.uid > last:
                self._append(row.uid, row.flags, row.modseq, row.size, row.internal_date, row.id, row.save_date)
                if row.keywords:
                    self.keywords[row.uid] = row.keywords
                    self._note_keywords((row.keywords,))
        for uid in changes.vanished or ():
            if self.index(uid) >= 0:
                self._gone.add(uid)
        self._reached(changes.mailbox)

    def reload(self, view: View) -> None:
        """The history does not reach back to what this session knows: compare with all there is now."""
        here = set(view.uids)
        self._gone.update(uid for uid in self.uids if uid not in here)
        for at, uid in enumerate(view.uids):
            words = view.keywords.get(uid, ())
            mine = self.index(uid)
            if mine < 0:
                self._append(
                    uid,
                    view.flags[at],
                    view.modseqs[at],
                    view.sizes[at],
                    view.dates[at],
                    view.ids[at],
                    view.save_dates[at],
                )
                if words:
                    self.keywords[uid] = words
            elif self.modseqs[mine] < view.modseqs[at]:
                self.set_flags(uid, view.flags[at], words, view.modseqs[at])
                if self.follow_flags:
                    self._changed.add(uid)
        self._note_keywords(view.keywords.values())
        self._reached(view.mailbox)

    def _append(self, uid: int, bits: int, modseq: int, size: int, date: int, row_id: int, saved: int) -> None:
        if self.uids and uid <= self.uids[-1]:
            return  # UIDs only ascend; a row that appears below was there before and is no news
        self.arrived = True
        if self.follow_new:
            self._fresh.append(uid)
        if self._holders is not None:
            self._own()
        self.uids.append(uid)
        self.flags.append(bits)
        self.modseqs.append(modseq)
        self.sizes.append(size)
        self.dates.append(date)
        self.ids.append(row_id)
        self.save_dates.append(saved)

    def _note_keywords(self, groups: Iterable[Keywords]) -> None:
        for keywords in groups:
            for word in keywords:
                if word.lower() not in self._keyword_names:
                    self._keyword_names[word.lower()] = word
                    self._new_keywords = True

    # What the client is told.

    def note(self, uids: Iterable[int]) -> None:
        """The flags of these are to be told, changed or not."""
        self._changed.update(uids)

    def annotated_by_us(self, modseq: int, changed: Iterable[Flagged]) -> None:
        """Annotations of these were changed by this session. Flags that others changed meanwhile are to be told."""
        self.our_annotations.add(modseq)
        for uid, bits, keywords, stamp in changed:
            at = self.index(uid)
            if at >= 0 and (self.flags[at] != bits or self.keywords.get(uid, ()) != keywords):
                self._changed.add(uid)
            self.set_flags(uid, bits, keywords, stamp)

    def note_entries(self, changed: Iterable[tuple[int, str, int]]) -> None:
        """Annotations (UID, entry, modification number) were changed: by others they are to be told."""
        for uid, entry, modseq in changed:
            if modseq not in self.our_annotations:
                self._entries.setdefault(uid, {})[entry] = None
        self.our_annotations = {modseq for modseq in self.our_annotations if modseq > self.highestmodseq}

    def note_silent(self, uids: Iterable[int]) -> None:
        """Only the mod-sequence of these is to be told."""
        self._silent.update(uids)

    def take_fresh(self) -> list[int]:
        """UIDs of the messages that have come since the last time, if they are followed (RFC 5465 section 5.2)."""
        fresh, self._fresh = self._fresh, []
        return fresh

    @property
    def settled(self) -> bool:
        """Nothing is waiting to be told (expunges that have to wait apart)."""
        return not (
            self._changed or self._silent or self._entries or self._new_keywords or self._told != len(self.uids)
        )

    def has_gone(self, uids: Iterable[int]) -> bool:
        """Whether one of these is known to be expunged, though the client has not been told."""
        return not self._gone.isdisjoint(uids)

    def is_gone(self, uid: int) -> bool:
        """Known to be expunged, though the client has not been told."""
        return uid in self._gone

    def tell(
        self, *, expunge: bool, vanished: bool, modseq: bool, recent: bool, uid_only: bool = False
    ) -> Iterator[bytes]:
        """The untagged responses (without `* ` and CRLF) for what has been taken and not been told.

        `expunge`: messages may be taken out now. `vanished`: by VANISHED instead of EXPUNGE (QRESYNC is enabled).
        `uid_only`: no message numbers (RFC 9586).
        `modseq`: FETCH responses carry MODSEQ (RFC 7162 section 3.2). `recent`: the client knows \\Recent.
        """
        if self._gone and expunge:
            yield from self._expunged(vanished)
        if self._new_keywords:
            self._new_keywords = False
            yield responses.flags(self.keyword_list())
            if not self.read_only:
                yield b"OK [%b] flags that are kept" % self.permanent_flags().encode()
        if self._told != len(self.uids):
            self._told = len(self.uids)
            yield b"%d EXISTS" % self._told
        if recent and self._told_recent != (count := self.recent()):
            self._told_recent = count
            yield b"%d RECENT" % count
        if self._changed or self._silent or self._entries:
            changed, self._changed = self._changed, set()
            silent, self._silent = self._silent, set()
            entries, self._entries = self._entries, {}
            for uid in sorted(changed | silent | entries.keys()):
                at = self.index(uid)
                if at < 0:  # one that is gone and not told so yet is still there for the client
                    continue
                told = [b"FLAGS " + self.render_flags(at, recent=recent)] if uid in changed else []
                if modseq:
                    told.append(b"MODSEQ (%d)" % self.modseqs[at])
                if uid in entries:
                    names = b" ".join(responses.astring(name.encode()) for name in entries[uid])
                    told.append(b"ANNOTATION (%b)" % names)  # no values: RFC 5257 section 4.4
                values = b" ".join(told)
                if uid_only:
                    yield b"%d UIDFETCH (%b)" % (uid, values)
                    continue
                # UID is always there: required with QRESYNC (RFC 7162 section 3.2.4), never wrong.
                yield b"%d FETCH (UID %d %b)" % (at + 1, uid, values)

    def _expunged(self, vanished: bool) -> Iterable[bytes]:
        """Take what is gone out of the columns, before a word is told of it: the client may be slow, or go away."""
        gone, self._gone = sorted(self._gone), set()
        self._changed.difference_update(gone)
        indexes = [at for at in self.indexes(gone) if at >= 0]
        if not indexes:
            return ()
        told = [at for at in indexes if at < self._told]
        responded: Iterable[bytes]
        if vanished:
            responded = responses.vanished([self.uids[at] for at in told])
        else:
            # From the last to the first, so that no number shifts before it is told.
            responded = [b"%d EXPUNGE" % (at + 1) for at in reversed(told)]
        self._told -= len(told)
        if self._holders is not None:
            self._own()
        if self.keywords:
            for uid in gone:
                self.keywords.pop(uid, None)
        self._close_gaps(compact(indexes))
        return responded

    def _close_gaps(self, taken: list[tuple[int, int]]) -> None:
        """Take inclusive ranges of indexes out of the columns."""
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


def join(ranges: Iterable[range]) -> list[range]:
    """Index ranges in ascending order, without overlap."""
    joined: list[range] = []
    for piece in sorted((r for r in ranges if r), key=lambda r: r.start):
        if joined and piece.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, piece.stop))
        else:
            joined.append(piece)
    return joined


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
