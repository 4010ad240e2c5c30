"""The maildrop of a POP3 session: the messages INBOX had at the login, by number, and what is to be done at QUIT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pillarbox.store import Tx, mailboxes, messages
from pillarbox.store.errors import NotFound
from pillarbox.store.flags import DELETED, SEEN
from pillarbox.store.records import View


class Maildrop:
    """Numbers are the same for the whole session (RFC 1939 section 5). In the store nothing changes before `update`."""

    __slots__ = ("_deleted", "_fetched", "_view")

    def __init__(self, view: View) -> None:
        self._view = view
        self._deleted: set[int] = set()
        self._fetched: set[int] = set()

    def __contains__(self, number: int) -> bool:
        """Whether a message has this number and is not marked for deletion."""
        return 1 <= number <= len(self._view.uids) and number not in self._deleted

    def __iter__(self) -> Iterator[int]:
        """The numbers of messages that are not marked for deletion."""
        if not self._deleted:
            return iter(range(1, len(self._view.uids) + 1))
        return (number for number in range(1, len(self._view.uids) + 1) if number not in self._deleted)

    def count(self) -> int:
        return len(self._view.uids) - len(self._deleted)

    def octets(self) -> int:
        return sum(self._view.sizes) - sum(map(self.size, self._deleted))

    def size(self, number: int) -> int:
        return self._view.sizes[number - 1]

    def message_id(self, number: int) -> int:
        """The row of a message, for `messages.rendered`."""
        return self._view.ids[number - 1]

    def unique_id(self, number: int) -> str:
        """The same in every session, and never another message's (RFC 1939 section 7): UIDVALIDITY and UID."""
        return f"{self._view.mailbox.uidvalidity}.{self._view.uids[number - 1]}"

    def delete(self, number: int) -> None:
        self._deleted.add(number)

    def fetched(self, number: int) -> None:
        """The whole message went out: it is \\Seen after QUIT."""
        self._fetched.add(number)

    def reset(self) -> None:
        self._deleted.clear()

    @property
    def changes(self) -> tuple[int, list[int], list[int]] | None:
        """The arguments of `update`; None when there is nothing to do."""
        view = self._view
        seen = [view.uids[n - 1] for n in sorted(self._fetched - self._deleted) if not view.flags[n - 1] & SEEN]
        deleted = [view.uids[n - 1] for n in sorted(self._deleted)]
        return (view.mailbox.id, deleted, seen) if deleted or seen else None


def open_inbox(tx: Tx, user_id: int) -> View:
    """The view of an account's INBOX. Raises NotFound."""
    inbox = mailboxes.find(tx, user_id, "INBOX")
    if inbox is None:
        raise NotFound("no such mailbox")
    return messages.open_view(tx, inbox.id)


def update(tx: Tx, mailbox_id: int, deleted: Sequence[int], seen: Sequence[int]) -> None:
    """The UPDATE state (RFC 1939 section 6): all of it or nothing. Messages that others removed are passed over."""
    if seen:
        messages.store_flags(tx, mailbox_id, seen, "add", SEEN)
    if deleted:
        messages.store_flags(tx, mailbox_id, deleted, "add", DELETED)
        messages.expunge(tx, mailbox_id, deleted)
