"""Who wants to know of a change: sessions by mailbox, and sessions by the account they are logged in to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from pillarbox.access.authenticate import Authenticator, Identity

C = TypeVar("C")


class MailboxWatch:
    """Tells sessions that something happened to a mailbox: new mail, flags, expunges, its name or its end.

    `changed` is given to `store.on_commit`, which calls it on the loop for commits of this worker and for those it
    noticed of others. A callback takes nothing and does little: it notes that the session is to look.
    """

    def __init__(self) -> None:
        self._mailboxes: dict[int, dict[object, Callable[[], None]]] = {}
        self._users: dict[int, dict[object, Callable[[Sequence[int]], None]]] = {}

    def mailbox(self, mailbox_id: int, who: object, callback: Callable[[], None]) -> None:
        """Call back when this mailbox changes. `who` (a session) has one callback a mailbox."""
        self._mailboxes.setdefault(mailbox_id, {})[who] = callback

    def leave_mailbox(self, mailbox_id: int, who: object) -> None:
        _leave(self._mailboxes, mailbox_id, who)

    def watching(self, mailbox_id: int) -> Iterator[object]:
        """Who watches this mailbox, the last who came first."""
        return reversed(self._mailboxes.get(mailbox_id, {}))

    def mailboxes(self) -> list[int]:
        """Ids of the mailboxes that somebody watches, for `store.notice_changes`."""
        return list(self._mailboxes)

    def user(self, user_id: int, who: object, callback: Callable[[Sequence[int]], None]) -> None:
        """Call back with the ids of mailboxes of this account that have changed; 0 among them is the account itself.

        The account 0 is the directory.
        """
        self._users.setdefault(user_id, {})[who] = callback

    def leave_user(self, user_id: int, who: object) -> None:
        _leave(self._users, user_id, who)

    def changed(self, touched: Iterable[tuple[int, int]]) -> None:
        """Pairs (user id, mailbox id) that a commit has touched."""
        users: dict[int, list[int]] = {}
        for user_id, mailbox_id in touched:
            if user_id in self._users:
                users.setdefault(user_id, []).append(mailbox_id)
            if (listeners := self._mailboxes.get(mailbox_id)) is not None:
                for callback in tuple(listeners.values()):
                    callback()
        for user_id, ids in users.items():
            for tell in tuple(self._users.get(user_id, {}).values()):
                tell(ids)


def _leave(table: dict[int, dict[object, C]], key: int, who: object) -> None:
    listeners = table.get(key)
    if listeners is not None:
        listeners.pop(who, None)
        if not listeners:
            del table[key]


class LoggedIn(Protocol):
    """A session that somebody is logged in to."""

    def log_out(self, reason: str) -> None:
        """The account was disabled or its password changed: say goodbye and close."""


class LoginWatch:
    """Ends sessions whose account was disabled, deleted, or got another password.

    The worker calls `check` every second when the store may have changed; it costs one read for each account that is
    logged in here.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._sessions: dict[Identity, set[LoggedIn]] = {}

    def add(self, identity: Identity, session: LoggedIn) -> None:
        self._sessions.setdefault(identity, set()).add(session)

    def remove(self, identity: Identity, session: LoggedIn) -> None:
        sessions = self._sessions.get(identity)
        if sessions is not None:
            sessions.discard(session)
            if not sessions:
                del self._sessions[identity]

    async def check(self) -> None:
        """End the sessions of accounts whose credentials are not those of the login any more."""
        if not self._sessions:
            return
        for identity in await self._authenticator.outdated(list(self._sessions)):
            for session in tuple(self._sessions.pop(identity, ())):
                session.log_out("credentials have changed")
