"""One account's mailboxes as this worker knows them, and the news that follow from what it learns of them.

There is one view of an account for all sessions that follow it. A commit says which mailboxes to look at, and these are
read by their keys; everything is walked through only when nobody could say where to look (`account_views`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from pillarbox.store import Store, folders
from pillarbox.store.errors import NotFound, StoreError
from pillarbox.store.folders import Folder, Fresh
from pillarbox.store.mailbox_names import DELIMITER, parents
from pillarbox.store.metadata import Changed

from .renames import in_order

log = structlog.get_logger()

SPACING = 0.02  # seconds between two looks at an account that changes all the time
MOST_BY_KEY = 500  # mailboxes; of more that have changed at once everything is looked at
WALK_EVERY = 1.0  # seconds between two looks at everything, at least, and for each mailbox:
WALK_EVERY_EACH = 0.001
_TRIES = 3  # to settle, while commits go on or the store does not answer


class Change(NamedTuple):
    """A mailbox before and after: without a before it is new, without an after it is gone.

    `flags`: a message that was there before has changed. What is below a renamed mailbox has the new name in both.
    Several renames come in an order in which they can be followed; mailboxes that have changed places, with each other
    or with what is below, are gone under one name and new under the other.
    """

    before: Folder | None
    after: Folder | None
    flags: bool = False


class News(NamedTuple):
    """What has happened between two numbers of an account. `subscriptions`: names that changed in that."""

    owner_id: int
    since: int
    until: int
    changes: Sequence[Change]
    subscriptions: frozenset[str]
    entries: Sequence[Changed]


class AccountView:
    """Loaded by `load`; from then on `touched` keeps it up to date, and the listeners hear what was new."""

    def __init__(self, store: Store, user_id: int) -> None:
        self.user_id = user_id
        self.folders: dict[int, Folder] = {}
        self.names: dict[str, Folder] = {}
        self.subscribed: frozenset[str] = frozenset()
        self.modseq = 0
        self.listeners: dict[object, Callable[[News], None]] = {}
        self.loaded = False
        self.walked_to = -1  # the number at the last look at everything
        self.walked_at = 0.0
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._server_modseq = 0
        self._parents: dict[str, int] = {}  # name -> mailboxes below it
        self._ids: set[int] = set()  # to look at
        self._whole = self._account = self._entries = False  # what else is to be looked at
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None

    def has_children(self, name: str) -> bool:
        """A mailbox is below this name."""
        return name in self._parents

    async def load(self) -> None:
        """Raises StoreError."""
        found = await self._store.scan(folders.load, self.user_id)
        self.modseq, self._server_modseq = found.modseq, found.server_modseq
        self.subscribed = found.subscribed
        for folder in found.folders:
            self._put(folder)
        self.walked_to, self.walked_at = found.modseq, self._loop.time()
        self.loaded = True
        self._start()  # what was touched in between

    def touched(self, ids: Iterable[int]) -> None:
        """A commit has touched these; 0 is the account itself."""
        for mailbox_id in ids:
            if mailbox_id:
                self._ids.add(mailbox_id)
            else:
                self._account = True
        self._entries = True
        self._start()

    def doubt(self) -> None:
        """Something has changed, nobody knows what."""
        self._whole = True
        self._start()

    def due(self) -> bool:
        """It is time to ask whether a hint was lost."""
        wait = WALK_EVERY + WALK_EVERY_EACH * len(self.folders)
        return self.loaded and self._loop.time() >= self.walked_at + wait

    async def settle(self) -> None:
        """Look at once at what was told so far."""
        for _ in range(_TRIES):
            if self._work is None:
                if not self._stale:
                    return
                self.close()
                self._begin()
            assert self._work is not None
            await asyncio.shield(self._work)

    def close(self) -> None:
        """Do not look again until something is touched."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Looking.

    @property
    def _stale(self) -> bool:
        return bool(self._ids) or self._whole or self._account or self._entries

    def _start(self) -> None:
        if not self.loaded or not self._stale or self._timer is not None or self._work is not None:
            return
        wait = self._looked_at + SPACING - self._loop.time()
        if wait <= 0:
            self._begin()
        else:
            self._timer = self._loop.call_later(wait, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._work = self._loop.create_task(self._refresh())

    async def _refresh(self) -> None:
        again = True
        try:
            await self._look()
        except StoreError as error:
            again = False  # with the next commit, or when the time has come
            log.warning("News of an account could not be read", error=str(error), user=self.user_id)
        except Exception:
            again = False
            log.exception("News of an account could not be told", user=self.user_id)
        finally:
            self._work = None
        if again:
            self._start()

    async def _look(self) -> None:
        ids, self._ids = self._ids, set()
        whole, account = self._whole or len(ids) > MOST_BY_KEY, self._account
        self._whole = self._account = self._entries = False
        self._looked_at = self._loop.time()
        user_id, since, since_server = self.user_id, self.modseq, self._server_modseq
        try:
            if whole:
                fresh = await self._store.scan(folders.newer, user_id, self.folders, self.walked_to, since_server)
                fresh = fresh._replace(entries=[one for one in fresh.entries if _is_new(one, since)])
                self.walked_to, self.walked_at = fresh.modseq, self._loop.time()
            else:
                known = {mailbox_id: self.folders.get(mailbox_id) for mailbox_id in ids}
                fresh = await self._store.read(folders.some, user_id, known, since, since_server, subscriptions=account)
        except NotFound:  # the account was deleted
            fresh = Fresh(since, [], frozenset(), frozenset(self.folders), frozenset(), [])
        except BaseException:
            self._ids |= ids
            self._whole, self._account, self._entries = whole or self._whole, account or self._account, True
            raise
        if not whole and len(self._renames(fresh.folders)) > 1:
            self._whole = True  # where those below have come to is seen when all are looked at
            return
        self._tell(fresh)

    def _tell(self, fresh: Fresh) -> None:
        since, self.modseq = self.modseq, fresh.modseq
        changes = self._apply(fresh)
        subscriptions: frozenset[str] = frozenset()
        if fresh.subscribed is not None:
            subscriptions, self.subscribed = self.subscribed ^ fresh.subscribed, fresh.subscribed
        for entry in fresh.entries:
            if entry.mailbox_id is None and entry.user_id is None:
                self._server_modseq = max(self._server_modseq, entry.modseq)
        if changes or subscriptions or fresh.entries:
            news = News(self.user_id, since, fresh.modseq, changes, subscriptions, fresh.entries)
            for listener in tuple(self.listeners.values()):
                listener(news)

    # What is known.

    def _apply(self, fresh: Fresh) -> list[Change]:
        changes = []
        for mailbox_id in fresh.gone:
            folder = self.folders.get(mailbox_id)
            if folder is not None:
                self._drop(folder)
                changes.append(Change(folder, None))
        renames = self._renames(fresh.folders)
        if len(renames) == 1:
            self._rename_below(*renames[0])
        elif renames:  # then `fresh` has all that have another name
            changes += self._rename_all({folder.id: folder for folder in fresh.folders})
        made = []
        for folder in fresh.folders:
            before = self.folders.get(folder.id)
            if before is not None:
                self._drop(before)
                if before.name != folder.name and len(renames) > 1:  # no rename led there
                    changes.append(Change(before, None))
                    before = None
            flags = folder.id in fresh.flagged
            if before is None or flags or _told(before) != _told(folder):
                made.append(Change(before, folder, flags))
        for folder in fresh.folders:
            self._put(folder)
        return changes + made

    def _renames(self, found: Iterable[Folder]) -> list[tuple[str, str]]:
        """Old and new names of what was renamed, without what was only renamed along with one above it."""
        pairs = (
            (before.name, folder.name)
            for folder in found
            if (before := self.folders.get(folder.id)) is not None and before.name != folder.name
        )
        tops: list[tuple[str, str]] = []
        for old, new in sorted(pairs, key=lambda pair: pair[0].count(DELIMITER)):
            if not any(old == top + new[len(name) :] for top, name in tops if new.startswith(name + DELIMITER)):
                tops.append((old, new))
        return tops

    def _rename_below(self, old: str, new: str) -> None:
        below = old + DELIMITER
        for folder in [one for one in self.folders.values() if one.name.startswith(below)]:
            self._drop(folder)
            self._put(msgspec.structs.replace(folder, name=new + folder.name[len(old) :]))

    def _rename_all(self, found: Mapping[int, Folder]) -> list[Change]:
        before = {one.id: one.name for one in self.folders.values()}
        after = {one: found[one].name if one in found else name for one, name in before.items()}
        renames, names = in_order(before, after)
        changes = [
            Change(
                msgspec.structs.replace(self.folders[rename.id], name=rename.old),
                msgspec.structs.replace(self.folders[rename.id], name=rename.new),
            )
            for rename in renames
        ]
        moved = [folder for folder in self.folders.values() if names[folder.id] != folder.name]
        for folder in moved:
            self._drop(folder)
        for folder in moved:
            self._put(msgspec.structs.replace(folder, name=names[folder.id]))
        return changes

    def _put(self, folder: Folder) -> None:
        self.folders[folder.id] = self.names[folder.name] = folder
        for parent in parents(folder.name):
            self._parents[parent] = self._parents.get(parent, 0) + 1

    def _drop(self, folder: Folder) -> None:
        del self.folders[folder.id]
        if self.names.get(folder.name) is folder:
            del self.names[folder.name]
        for parent in parents(folder.name):
            self._parents[parent] -= 1
            if not self._parents[parent]:
                del self._parents[parent]


def _told(folder: Folder) -> tuple[str, int, int, int, int]:
    return folder.name, folder.uidvalidity, folder.uidnext, folder.messages, folder.unseen


def _is_new(entry: Changed, since: int) -> bool:
    return entry.modseq > since or (entry.mailbox_id is None and entry.user_id is None)
