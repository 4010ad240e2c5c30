"""What a session with NOTIFY follows, and which of the news there its client wants to hear.

News of the accounts (`account_view`) are only noted here (`imap_notify_untold`), so that a client that takes its time
costs no more than the names of what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pillarbox.store import Store, sharing
from pillarbox.store.errors import NotFound
from pillarbox.store.folders import Folder
from pillarbox.store.mailbox_names import PREFIX
from pillarbox.store.metadata import Changed
from pillarbox.store.sharing import Access

from .account_view import AccountView, Change, News
from .account_views import AccountViews
from .imap_notify_interest import Event, Interest
from .imap_notify_own import OwnWrites
from .imap_notify_untold import Named, Untold, is_at

MOST_NAMES = 2000  # and entries of metadata, that wait to be told; more than that is an overflow (section 5.8)
MOST_FOLLOWED = 20_000  # mailboxes of all accounts together


class TooMuch(Exception):
    """There are more mailboxes than one session may follow."""


@dataclass(slots=True, eq=False)
class Following:
    """By `begin` it hears of every account that the interest is about, until `end`."""

    user_id: int
    interest: Interest
    store: Store
    accounts: AccountViews
    wake: Callable[[], None]
    own: OwnWrites = field(default_factory=OwnWrites)
    views: dict[int, AccountView] = field(default_factory=dict)
    access: dict[int, Access] = field(default_factory=dict)  # to other accounts
    denied: set[int] = field(default_factory=set)  # mailboxes that the client was told it has no access to
    untold: Untold = field(default_factory=Untold)
    waiting: bool = False
    overflown: bool = False
    stale: bool = False  # rights may have changed

    @property
    def mine(self) -> AccountView:
        return self.views[self.user_id]

    async def begin(self) -> None:
        """Raises StoreError, TooMuch."""
        if not self.interest.elsewhere:
            return
        await self._join(self.user_id)
        await asyncio.sleep(0)  # what the client did in the command before is told when that has ended
        await self.mine.settle()
        if self.interest.others:
            self.accounts.directory(self, self._directory_changed)
            await self.review()
        if self.overflown:
            raise TooMuch
        self._forget()

    def end(self) -> None:
        """Hear nothing any more."""
        self.accounts.leave_directory(self)
        for owner_id in self.views:
            self.accounts.leave(owner_id, self)
        self.views.clear()
        self._forget()

    def followed(self) -> Iterator[tuple[int, Folder, str, Event]]:
        """Owner, mailbox, its name here, and what is wanted of it."""
        for owner_id, view in tuple(self.views.items()):
            for folder in tuple(view.folders.values()):
                name = self.name_of(owner_id, folder)
                if events := self._wanted(owner_id, name):
                    yield owner_id, folder, name, events

    def name_of(self, owner_id: int, folder: Folder) -> str:
        """How a mailbox is called here."""
        return folder.name if owner_id == self.user_id else self._prefix(owner_id) + folder.name

    def rights(self, owner_id: int, mailbox_id: int) -> str:
        """What this account may do there, of l and r and the others; as was read last."""
        if owner_id == self.user_id:
            return "lr"
        access = self.access.get(owner_id)
        return access.to(mailbox_id) if access is not None else ""

    def take(self) -> Untold:
        """What waits, to be told."""
        untold, self.untold = self.untold, Untold()
        self.waiting = self.stale
        return untold

    def _forget(self) -> None:
        self.stale = False
        self.take()

    def _prefix(self, owner_id: int) -> str:
        access = self.access.get(owner_id)
        return access.prefix if access is not None else ""

    def _wanted(self, owner_id: int, name: str) -> Event:
        return self.interest.events(name, self.mine.subscribed, own=owner_id == self.user_id)

    # What is heard.

    def heard(self, news: News) -> None:
        """Note what a client wants to know of this."""
        owner_id = news.owner_id
        if self.overflown or (owner_id != self.user_id and owner_id not in self.access):
            return
        if self.user_id not in self.views:
            return  # it has just been read, and whoever joins knows what is in it
        for change in news.changes:
            self._changed(news, change)
        if owner_id == self.user_id:
            for name in news.subscriptions:
                self._subscribed(news, name)
        for entry in news.entries:
            self._entry(owner_id, entry)
        self.limit()
        if self.untold:
            self._awake()

    def limit(self) -> None:
        """So much is told and no more."""
        if self.untold.count > MOST_NAMES:
            self.overflow()

    def overflow(self) -> None:
        """It is too much: everything is forgotten, and the client is to hear that (section 5.8)."""
        self.end()
        self.overflown = True
        self._awake()

    def _awake(self) -> None:
        self.waiting = True
        self.wake()

    def _changed(self, news: News, change: Change) -> None:
        before, after, flags = change
        owner_id = news.owner_id
        now = after or before
        assert now is not None
        name = self.name_of(owner_id, now)
        if before is None or after is None:
            anew = self._appeared(news, name, now.id, gone=after is None)
        elif before.name != after.name:
            hidden = "l" not in self.rights(owner_id, now.id)
            anew = self._rename(news, self.name_of(owner_id, before), name, hidden=hidden)
        else:
            anew = False
        if after is None:
            self.untold.forget(owner_id, now.id)
            return
        wanted = self._wanted(owner_id, name)
        if wanted & Event.MESSAGES:
            new = anew or (after.uidnext > 1 if before is None else _counts(before) != _counts(after))
            inside = bool(wanted & (Event.FLAGS | Event.ANNOTATIONS))  # annotations are stamped as flags are
            flags = inside and (anew or (before is not None and (flags or before.unseen != after.unseen)))
            if new or flags:
                self.untold.note_messages(news, after, before, new=new, flags=flags)

    def _appeared(self, news: News, name: str, mailbox_id: int, *, gone: bool) -> bool:
        """A mailbox is new or gone; whether there was another one of that name, as far as the client knows."""
        owner_id = news.owner_id
        if not self._wanted(owner_id, name) & Event.NAME:
            return False
        fresh = (owner_id, name) not in self.untold.names
        named = self.untold.note_name(news, name)
        anew = not gone and named.ended
        named.made, named.ended = named.made or not gone, named.ended or gone
        if fresh:
            named.known = gone and "l" in self.rights(owner_id, mailbox_id)
        return anew

    def _rename(self, news: News, old: str, new: str, *, hidden: bool) -> bool:
        """Note that a mailbox has another name; whether the client cannot know what it is under that.

        Of one that is hidden nothing is said, so that what may be seen below it is told name by name.
        """
        owner_id = news.owner_id
        if not (self._wanted(owner_id, old) | self._wanted(owner_id, new)) & Event.NAME:
            self._every_name(news, old, new)
            return False
        self.untold.carry(news, old, new)
        if hidden or not self.untold.note_rename(news, old, new):
            self._every_name(news, old, new)
            return True
        self._others_before(news, new)
        return False

    def _others_before(self, news: News, top: str) -> None:
        """Messages are told of what was renamed to a name that the client knew as another mailbox's."""
        for folder in self.views[news.owner_id].folders.values():
            name = self.name_of(news.owner_id, folder)
            named = self.untold.names.get((news.owner_id, name)) if is_at(name, top) else None
            if named is not None and named.ended and (wanted := self._wanted(news.owner_id, name)) & Event.MESSAGES:
                inside = bool(wanted & (Event.FLAGS | Event.ANNOTATIONS))
                self.untold.note_messages(news, folder, folder, new=True, flags=inside)

    def _every_name(self, news: News, old: str, new: str) -> None:
        """Tell of a rename name by name, of those that are wanted."""
        for folder in self.views[news.owner_id].folders.values():
            name = self.name_of(news.owner_id, folder)
            if not is_at(name, new):
                continue
            before = old + name[len(new) :]
            wanted = self._wanted(news.owner_id, name)
            if (wanted | self._wanted(news.owner_id, before)) & Event.NAME:
                self.untold.note_name(news, before, known="l" in self.rights(news.owner_id, folder.id))
                self.untold.note_name(news, name, known=news.owner_id == self.user_id)
                if wanted & Event.MESSAGES:
                    self.untold.note_messages(news, folder, folder, new=True, flags=False)

    def _subscribed(self, news: News, name: str) -> None:
        own = not name.startswith(PREFIX)
        subscribed = self.mine.subscribed | {name}  # so that the end of a subscription is an event of it too
        if self.interest.events(name, subscribed, own=own) & Event.SUBSCRIPTION:
            self.untold.note_name(news, name)
            self.stale = self.stale or (not own and self.interest.others)

    def _entry(self, owner_id: int, entry: Changed) -> None:
        if entry.user_id not in (None, self.user_id):
            return
        if entry.mailbox_id is None:
            if self.interest.server and owner_id == self.user_id:
                account = owner_id if entry.user_id is not None else 0
                self.untold.note_entry(account, 0, entry)
            return
        folder = self.views[owner_id].folders.get(entry.mailbox_id)
        if folder is not None and self._wanted(owner_id, self.name_of(owner_id, folder)) & Event.METADATA:
            self.untold.note_entry(owner_id, folder.id, entry)

    # Rights.

    def _directory_changed(self) -> None:
        self.stale = True
        self._awake()

    @property
    def doubtful(self) -> bool:
        """Something of another account is to be told, or rights may have changed: `review` first."""
        if not self.interest.others:
            return False
        return self.stale or not self.untold.is_about(0, self.user_id)

    async def review(self) -> None:
        """Read the rights at other accounts, follow these, and note what became accessible or inaccessible.

        Raises StoreError, TooMuch. What is heard meanwhile may be too much: then nothing is followed any more.
        """
        self.stale = False
        try:
            access = await self.store.read(sharing.access, self.user_id)
            for owner_id in access:
                if owner_id not in self.views and not self.overflown:
                    await self._join(owner_id)
        except BaseException:
            self.stale = True
            raise
        if self.overflown:
            return
        before, self.access = self.access, {owner: one for owner, one in access.items() if owner in self.views}
        for owner_id in before.keys() | self.access.keys():
            had, has = before.get(owner_id), self.access.get(owner_id)
            if had != has:
                self._compare(owner_id, had, has)
        for owner_id in before.keys() - self.access.keys():
            self.accounts.leave(owner_id, self)
            del self.views[owner_id]

    def _compare(self, owner_id: int, had: Access | None, has: Access | None) -> None:
        one = has or had
        assert one is not None
        for folder in self.views[owner_id].folders.values():
            before = set(had.to(folder.id) if had is not None else "") & set("lr")
            after = set(has.to(folder.id) if has is not None else "") & set("lr")
            if before == after or "l" not in before | after:
                continue
            name = one.prefix + folder.name
            if "l" not in after:  # a name that it was given since is not for this client
                name = self.untold.known_as(owner_id, name)
                waits = self.untold.names.get((owner_id, name))
                if waits is not None and not waits.known:
                    continue  # nor this one; what it was called before waits already
            wanted = self._wanted(owner_id, name)
            lost = not {"l", "r"} <= after
            if wanted and (lost or wanted & Event.NAME or folder.id in self.denied):
                number = self.views[owner_id].modseq
                named = self.untold.names.setdefault((owner_id, name), Named(number, number))
                named.lost, named.known = lost, "l" in before
            if wanted and lost:
                self.denied.add(folder.id)
            else:
                self.denied.discard(folder.id)

    async def _join(self, owner_id: int) -> None:
        try:
            view = await self.accounts.join(owner_id, self, self.heard)
        except NotFound:
            if owner_id == self.user_id:
                raise
            return  # it was deleted just now
        if self.overflown:
            self.accounts.leave(owner_id, self)
            return
        self.views[owner_id] = view
        if sum(len(one.folders) for one in self.views.values()) > MOST_FOLLOWED:
            raise TooMuch


def _counts(folder: Folder) -> tuple[int, int, int]:
    return folder.uidvalidity, folder.uidnext, folder.messages
