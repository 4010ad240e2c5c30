"""Views of mailboxes that nobody has selected just now, kept for who selects them next.

A session takes a view away and gives it back when it lets go of the mailbox: it has one owner at a time, and nothing is
copied. A view knows up to which modification number it is true, so that the store is asked only for what came later.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pillarbox.session.imap_selected import Selected
from pillarbox.store import messages
from pillarbox.store.records import Mailbox, View

if TYPE_CHECKING:
    from pillarbox.store import Store

MOST = 800_000  # messages in all views of a worker that rest; 45 octets each


class Views:
    """Of one worker; the ones that rest longest make room."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._resting: OrderedDict[int, View] = OrderedDict()
        self._messages = 0

    @property
    def messages(self) -> int:
        """How many messages the views have that rest here."""
        return self._messages

    def give(self, view: View) -> None:
        """Let a view rest. It is not the giver's any more."""
        self._take(view.mailbox.id)
        self._resting[view.mailbox.id] = view
        self._messages += len(view.uids)
        while self._messages > self._most:
            _, oldest = self._resting.popitem(last=False)
            self._messages -= len(oldest.uids)

    async def open(self, store: Store, box: Mailbox) -> View:
        """The view of a mailbox as it is now. Raises NotFound."""
        view = self._take(box.id)
        if view is None or view.mailbox.uidvalidity != box.uidvalidity or view.mailbox.uidnext > box.uidnext:
            return await store.read(messages.open_view, box.id)
        known = view.mailbox
        changes = await store.read(messages.changes, box.id, known.highestmodseq, known.uidnext)
        if changes.vanished is None or changes.mailbox.uidvalidity != box.uidvalidity:
            return await store.read(messages.open_view, box.id)
        if not (changes.new or changes.changed or changes.vanished):
            view.mailbox = changes.mailbox
            return view
        selected = Selected(view, box.name, read_only=True, recent_from=box.uidnext)
        selected.take(changes)
        return selected.rest()

    def _take(self, mailbox_id: int) -> View | None:
        view = self._resting.pop(mailbox_id, None)
        if view is not None:
            self._messages -= len(view.uids)
        return view
