"""What one session knows of its selected mailbox, and what of that its client has not been told.

The columns are what the client has been told, or is about to be told. The store may be ahead; `take` brings in what it
says has changed, and `tell` renders it as untagged responses. In between, new messages stand at the end, flags are up
to date, and messages that are gone keep their place until an EXPUNGE may be sent (RFC 9051 section 7.5.1: never in
answer to FETCH, STORE or SEARCH by message numbers).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pillarbox.imap import flags as imap_flags
from pillarbox.imap import responses
from pillarbox.imap.sequence import SequenceSet
from pillarbox.store.records import Changes, Expunged, Flagged, Mailbox, MessageRow, StoredFlags, View

from .imap_columns import Columns

if TYPE_CHECKING:
    from pillarbox.session.imap_contexts import Context

EVERY_RIGHT = "lrswipkxtena"


class Selected(Columns):
    """One selected mailbox of one session."""

    __slots__ = (
        "_changed",
        "_entries",
        "_fresh",
        "_gone",
        "_silent",
        "_told",
        "_told_recent",
        "_told_words",
        "annotatable",
        "annotations_told",
        "arrived",
        "contexts",
        "follow_flags",
        "follow_new",
        "mailbox_id",
        "name",
        "our_annotations",
        "own",
        "owner_id",
        "read_only",
        "recent_from",
        "rights",
        "saved",
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
        """`beside`: see `Columns`."""
        super().__init__(view, beside)
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
        self.arrived = False  # messages have come since it was selected
        self._told = len(self.uids)
        self._told_recent = self.recent()
        self._told_words = len(self.words)  # keywords that FLAGS has told

    def rest(self) -> View:
        """The columns as the store has them, for the next one to begin with; this object is of no use any more."""
        for _ in self.tell(expunge=True, vanished=True, modseq=False, recent=False):
            pass  # nobody is told, but what is gone leaves the columns
        return self.view()

    def let_go(self) -> View | None:
        """`rest`, if nobody else holds the columns."""
        return None if self.leave() else self.rest()

    def is_at(self, box: Mailbox) -> bool:
        """The columns are what this row of the mailbox says."""
        known = (self.uidvalidity, self.uidnext, self.highestmodseq)
        return known == (box.uidvalidity, box.uidnext, box.highestmodseq) and not self._gone

    # Which messages.

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

    def render_flags(self, index: int, *, recent: bool) -> bytes:
        """`(\\Seen $Junk)`; with \\Recent if `recent` asks for it and it applies."""
        uid = self.uids[index]
        words = self.keywords.get(uid, ()) if self.keywords else ()
        return imap_flags.render(self.flags[index], words, recent=recent and uid >= self.recent_from)

    def keyword_list(self) -> list[str]:
        """Keywords in use in the mailbox, as FLAGS lists them."""
        return sorted(self.words.values(), key=str.lower)

    def permanent_flags(self) -> str:
        """The code PERMANENTFLAGS."""
        return responses.permanent_flags(self.keyword_list(), read_only=self.read_only, rights=self.rights)

    # What the store says.

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
        self._came([row.uid for row in changes.new if self.append(row)])
        for uid in changes.vanished or ():
            if self.index(uid) >= 0:
                self._gone.add(uid)
        self.reached(changes.mailbox)

    def reload(self, view: View) -> None:
        """The history does not reach back to what this session knows: compare with all there is now."""
        here = set(view.uids)
        self._gone.update(uid for uid in self.uids if uid not in here)
        for at, uid in enumerate(view.uids):
            words = view.keywords.get(uid, ())
            mine = self.index(uid)
            if mine < 0:
                row = MessageRow(
                    uid,
                    view.flags[at],
                    words,
                    view.modseqs[at],
                    view.sizes[at],
                    view.dates[at],
                    view.save_dates[at],
                    view.ids[at],
                )
                if self.append(row):
                    self._came([uid])
            elif self.modseqs[mine] < view.modseqs[at]:
                self.set_flags(uid, view.flags[at], words, view.modseqs[at])
                if self.follow_flags:
                    self._changed.add(uid)
        self.note_words(view.keywords.values())
        self.reached(view.mailbox)

    def _came(self, uids: list[int]) -> None:
        """These stand at the end since now."""
        if uids:
            self.arrived = True
            if self.follow_new:
                self._fresh += uids

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
        told = self._told == len(self.uids) and self._told_words == len(self.words)
        return told and not (self._changed or self._silent or self._entries)

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
        if self._told_words != len(self.words):
            self._told_words = len(self.words)
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
        self.take_out(indexes)
        return responded


def join(ranges: Iterable[range]) -> list[range]:
    """Index ranges in ascending order, without overlap."""
    joined: list[range] = []
    for piece in sorted((r for r in ranges if r), key=lambda r: r.start):
        if joined and piece.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, piece.stop))
        else:
            joined.append(piece)
    return joined
