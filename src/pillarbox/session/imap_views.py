"""Views of mailboxes that nobody has selected just now, kept for who selects them next.

A session takes a view away and gives it back when it lets go of the mailbox: it has one owner at a time, and nothing is
copied. A view knows up to which modification number it is true, so that the store is asked only for what came later.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING

from pillarbox.session.imap_selected import Selected
from pillarbox.store import messages
from pillarbox.store.records import Mailbox, View

if TYPE_CHECKING:
    from pillarbox.store import Store

MOST = 800_000 * 45  # octets of memory for all views of a worker that rest, about
MANY = 5000  # changes since a view was let go; with more it is read anew, in a thread

_MESSAGE, _VIEW, _KEYWORDS, _WORD = 45, 2000, 160, 60  # octets: of a message, of a view without any, of keywords
_SOME = 5000  # messages whose keywords are looked at


class Views:
    """Of one worker; the ones that rest longest make room."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._resting: OrderedDict[int, tuple[View, int]] = OrderedDict()  # with their octets
        self._octets = 0

    @property
    def messages(self) -> int:
        """How many messages the views have that rest here."""
        return sum(len(view.uids) for view, _ in self._resting.values())

    def give(self, view: View) -> None:
        """Let a view rest. It is not the giver's any more."""
        self._take(view.mailbox.id)
        octets = weight(view)
        if octets > self._most:
            return
        self._resting[view.mailbox.id] = view, octets
        self._octets += octets
        while self._octets > self._most:
            _, (_, freed) = self._resting.popitem(last=False)
            self._octets -= freed

    def unchanged(self, box: Mailbox) -> View | None:
        """The view that rests, if it is what this row of the mailbox says."""
        view, _ = self._resting.get(box.id, (None, 0))
        if view is None:
            return None
        known = view.mailbox
        if (known.uidvalidity, known.uidnext, known.highestmodseq) != (box.uidvalidity, box.uidnext, box.highestmodseq):
            return None
        return self._take(box.id)

    async def open(self, store: Store, box: Mailbox) -> View:
        """The view of a mailbox as it is now. Raises NotFound."""
        view = self._take(box.id)
        if view is None or view.mailbox.uidvalidity != box.uidvalidity or view.mailbox.uidnext > box.uidnext:
            return await store.read(messages.open_view, box.id)
        known = view.mailbox
        changes = await store.read(messages.changes, box.id, known.highestmodseq, known.uidnext)
        if changes.vanished is None or changes.mailbox.uidvalidity != box.uidvalidity:
            return await store.read(messages.open_view, box.id)
        many = len(changes.new) + len(changes.changed) + len(changes.vanished)
        if many > MANY:
            return await store.read(messages.open_view, box.id)
        if not many:
            view.mailbox = changes.mailbox
            return view
        selected = Selected(view, box.name, read_only=True, recent_from=box.uidnext)
        selected.take(changes)
        return selected.rest()

    def _take(self, mailbox_id: int) -> View | None:
        view, octets = self._resting.pop(mailbox_id, (None, 0))
        self._octets -= octets
        return view


def weight(view: View) -> int:
    """How many octets of memory a view has, about: many small mailboxes and many keywords count as well.

    Of very many messages with keywords some thousand speak for all.
    """
    words = list(view.keywords.values())
    step = 1 + len(words) // _SOME
    some = words[::step]
    letters = sum(map(len, chain.from_iterable(some)))
    return _VIEW + _MESSAGE * len(view.uids) + _KEYWORDS * len(words) + step * (_WORD * sum(map(len, some)) + letters)
