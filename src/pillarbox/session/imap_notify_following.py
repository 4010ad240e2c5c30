"""What a session with NOTIFY follows, and what it has to tell: at most one entry for each mailbox and name.

News of the accounts (`account_view`) are only noted here, so that a client that takes its time costs no more than the
names of what has changed. What is told is what is true when it is told, so the order of what happened does not matter,
with one exception: a mailbox that was renamed takes along what is below, of which nothing is told (section 5.4). So
renames are told first, in their order; of more than `MOST_RENAMES` every name is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pillarbox.store import Store, sharing
from pillarbox.store.errors import NotFound
from pillarbox.store.folders import Folder
from pillarbox.store.mailbox_names import DELIMITER
from pillarbox.store.metadata import Changed
from pillarbox.store.sharing import Access

from .account_view import AccountView, Change, News
from .account_views import AccountViews
from .imap_notify_interest import Event, Interest
from .imap_notify_own import OwnWrites

MOST_NAMES = 2000  # and entries of metadata, that wait to be told; more than that is an overflow (section 5.8)
MOST_RENAMES = 100  # that wait to be told
MOST_FOLLOWED = 20_000  # mailboxes of all accounts together


class TooMuch(Exception):
    """There are more mailboxes than one session may follow."""


@dataclass(slots=True)
class Waiting:
    """Messages of a mailbox have changed between two numbers; `unseen`: how many had not been read before."""

    since: int
    until: int
    new: bool
    flags: bool
    unseen: int


@dataclass(slots=True)
class Named:
    """Something about a name is to be told. `known`: the client could see it before."""

    since: int
    until: int
    made: bool = False
    ended: bool = False
    lost: bool = False  # rights were taken away
    known: bool = True


@dataclass(slots=True)
class Renamed:
    """A mailbox has another name, and with it all below."""

    owner_id: int
    old: str
    new: str
    since: int
    until: int


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
    messages: dict[tuple[int, int], Waiting] = field(default_factory=dict)  # by owner and mailbox
    names: dict[tuple[int, str], Named] = field(default_factory=dict)  # by owner and name as it is here
    renamed: list[Renamed] = field(default_factory=list)
    entries: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict)  # names and their last numbers
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

    def clear(self) -> None:
        """What waits has been taken."""
        self.messages, self.names, self.entries, self.renamed = {}, {}, {}, []
        self.waiting = self.stale

    def _forget(self) -> None:
        self.stale = False
        self.clear()

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
        if self.names or self.messages or self.entries or self.renamed:
            self._awake()

    def limit(self) -> None:
        """So much is told and no more."""
        if len(self.names) + sum(map(len, self.entries.values())) > MOST_NAMES:
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
            self.messages.pop((owner_id, now.id), None)
            self.entries.pop((owner_id, now.id), None)
            return
        wanted = self._wanted(owner_id, name)
        if wanted & Event.MESSAGES:
            new = anew or (after.uidnext > 1 if before is None else _counts(before) != _counts(after))
            inside = bool(wanted & (Event.FLAGS | Event.ANNOTATIONS))  # annotations are stamped as flags are
            flags = inside and (anew or (before is not None and (flags or before.unseen != after.unseen)))
            if new or flags:
                self._waits(news, after, before, new=new, flags=flags)

    def _waits(self, news: News, after: Folder, before: Folder | None, *, new: bool, flags: bool) -> None:
        waiting = self.messages.get((news.owner_id, after.id))
        if waiting is None:
            unseen = 0 if before is None else before.unseen
            self.messages[news.owner_id, after.id] = Waiting(news.since, news.until, new, flags, unseen)
        else:
            waiting.until = news.until
            waiting.new, waiting.flags = waiting.new or new, waiting.flags or flags

    def _appeared(self, news: News, name: str, mailbox_id: int, *, gone: bool) -> bool:
        """A mailbox is new or gone; whether there was another one of that name, as far as the client knows."""
        owner_id = news.owner_id
        if not self._wanted(owner_id, name) & Event.NAME:
            return False
        fresh = (owner_id, name) not in self.names
        named = self._name(news, name)
        anew = not gone and named.ended
        named.made, named.ended = named.made or not gone, named.ended or gone
        if fresh:
            named.known = gone and "l" in self.rights(owner_id, mailbox_id)
        return anew

    def _name(self, news: News, name: str, *, known: bool = True) -> Named:
        named = self.names.setdefault((news.owner_id, name), Named(news.since, news.until, known=known))
        named.until = news.until
        return named

    def _rename(self, news: News, old: str, new: str, *, hidden: bool) -> bool:
        """Note that a mailbox has another name; whether the client cannot know what it is under that.

        Of one that is hidden nothing is said, so that what may be seen below it is told name by name.
        """
        owner_id, earlier = news.owner_id, self.renamed[-1] if self.renamed else None
        if not (self._wanted(owner_id, old) | self._wanted(owner_id, new)) & Event.NAME:
            self._every_name(news, old, new)
            return False
        for (owner, name), named in list(self.names.items()):
            if owner == owner_id and _is_at(name, old):  # what was to be told of it is now true of another name
                self.names.setdefault((owner, new + name[len(old) :]), replace(named, until=news.until))
        if hidden:
            self._every_name(news, old, new)
            return True
        if earlier is not None and earlier.owner_id == owner_id and earlier.new == old:
            earlier.new, earlier.until = new, news.until
        elif len(self.renamed) < MOST_RENAMES:
            self.renamed.append(Renamed(owner_id, old, new, news.since, news.until))
        else:
            self._every_name(news, old, new)
            return True
        self._others_before(news, new)
        return False

    def _others_before(self, news: News, top: str) -> None:
        """Messages are told of what was renamed to a name that the client knew as another mailbox's."""
        for folder in self.views[news.owner_id].folders.values():
            name = self.name_of(news.owner_id, folder)
            named = self.names.get((news.owner_id, name)) if _is_at(name, top) else None
            if named is not None and named.ended and (wanted := self._wanted(news.owner_id, name)) & Event.MESSAGES:
                inside = bool(wanted & (Event.FLAGS | Event.ANNOTATIONS))
                self._waits(news, folder, folder, new=True, flags=inside)

    def _every_name(self, news: News, old: str, new: str) -> None:
        """Tell of a rename name by name, of those that are wanted."""
        for folder in self.views[news.owner_id].folders.values():
            name = self.name_of(news.owner_id, folder)
            if not _is_at(name, new):
                continue
            before = old + name[len(new) :]
            wanted = self._wanted(news.owner_id, name)
            if (wanted | self._wanted(news.owner_id, before)) & Event.NAME:
                self._name(news, before, known="l" in self.rights(news.owner_id, folder.id))
                self._name(news, name, known=news.owner_id == self.user_id)
                if wanted & Event.MESSAGES:
                    self._waits(news, folder, folder, new=True, flags=False)

    def _subscribed(self, news: News, name: str) -> None:
        own = not name.startswith(sharing.PREFIX)
        subscribed = self.mine.subscribed | {name}  # so that the end of a subscription is an event of it too
        if self.interest.events(name, subscribed, own=own) & Event.SUBSCRIPTION:
            named = self.names.setdefault((self.user_id, name), Named(news.since, news.until))
            named.until = news.until
            self.stale = self.stale or (not own and self.interest.others)

    def _entry(self, owner_id: int, entry: Changed) -> None:
        if entry.user_id not in (None, self.user_id):
            return
        if entry.mailbox_id is None:
            if self.interest.server and owner_id == self.user_id:
                account = owner_id if entry.user_id is not None else 0
                self.entries.setdefault((account, 0), {})[entry.entry] = entry.modseq
            return
        folder = self.views[owner_id].folders.get(entry.mailbox_id)
        if folder is not None and self._wanted(owner_id, self.name_of(owner_id, folder)) & Event.METADATA:
            self.entries.setdefault((owner_id, folder.id), {})[entry.entry] = entry.modseq

    # Rights.

    def _directory_changed(self) -> None:
        self.stale = True
        self._awake()

    @property
    def doubtful(self) -> bool:
        """Something of another account is to be told, or rights may have changed: `review` first."""
        if not self.interest.others:
            return False
        keys = (*self.messages, *self.names, *self.entries)
        elsewhere = any(renamed.owner_id != self.user_id for renamed in self.renamed)
        return self.stale or elsewhere or any(key[0] not in (0, self.user_id) for key in keys)

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
                name = self._before_rename(owner_id, name)
                waits = self.names.get((owner_id, name))
                if waits is not None and not waits.known:
                    continue  # nor this one; what it was called before waits already
            wanted = self._wanted(owner_id, name)
            lost = not {"l", "r"} <= after
            if wanted and (lost or wanted & Event.NAME or folder.id in self.denied):
                number = self.views[owner_id].modseq
                named = self.names.setdefault((owner_id, name), Named(number, number))
                named.lost, named.known = lost, "l" in before
            if wanted and lost:
                self.denied.add(folder.id)
            else:
                self.denied.discard(folder.id)

    def _before_rename(self, owner_id: int, name: str) -> str:
        """What the client knows a mailbox as, when renames of it wait to be told."""
        for renamed in reversed(self.renamed):
            if renamed.owner_id == owner_id and _is_at(name, renamed.new):
                name = renamed.old + name[len(renamed.new) :]
        return name

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


def after_renames(owner_id: int, name: str, renames: Iterable[Renamed]) -> str:
    """What a mailbox of this name is called after these."""
    for renamed in renames:
        if renamed.owner_id == owner_id and _is_at(name, renamed.old):
            name = renamed.new + name[len(renamed.old) :]
    return name


def _is_at(name: str, top: str) -> bool:
    return name == top or name.startswith(top + DELIMITER)


def _counts(folder: Folder) -> tuple[int, int, int]:
    return folder.uidvalidity, folder.uidnext, folder.messages
