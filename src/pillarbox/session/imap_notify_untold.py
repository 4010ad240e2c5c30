"""What a session with NOTIFY has to tell: at most one entry for each mailbox and name.

What is told is what is true when it is told, so the order of what happened does not matter, with one exception: a
mailbox that was renamed takes along what is below, of which nothing is told (section 5.4). So renames are told first,
in their order; of more than `MOST_RENAMES` every name is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pillarbox.store.folders import Folder
from pillarbox.store.mailbox_names import DELIMITER
from pillarbox.store.metadata import Changed

from .account_view import News

MOST_RENAMES = 100  # that wait to be told


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
class Untold:
    """False when nothing waits."""

    messages: dict[tuple[int, int], Waiting] = field(default_factory=dict)  # by owner and mailbox
    names: dict[tuple[int, str], Named] = field(default_factory=dict)  # by owner and name as it is here
    renamed: list[Renamed] = field(default_factory=list)
    entries: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict)  # names and their last numbers

    def __bool__(self) -> bool:
        return bool(self.names or self.messages or self.entries or self.renamed)

    @property
    def count(self) -> int:
        """Names, and entries of metadata."""
        return len(self.names) + sum(map(len, self.entries.values()))

    def is_about(self, *accounts: int) -> bool:
        """Nothing of it is about another account."""
        elsewhere = any(renamed.owner_id not in accounts for renamed in self.renamed)
        return not elsewhere and all(key[0] in accounts for key in (*self.messages, *self.names, *self.entries))

    def note_messages(self, news: News, after: Folder, before: Folder | None, *, new: bool, flags: bool) -> None:
        """Messages have come or gone, flags were changed."""
        waiting = self.messages.get((news.owner_id, after.id))
        if waiting is None:
            unseen = 0 if before is None else before.unseen
            self.messages[news.owner_id, after.id] = Waiting(news.since, news.until, new, flags, unseen)
        else:
            waiting.until = news.until
            waiting.new, waiting.flags = waiting.new or new, waiting.flags or flags

    def note_name(self, news: News, name: str, *, known: bool = True) -> Named:
        """Something about a name; `known` counts when nothing else of it waits."""
        named = self.names.setdefault((news.owner_id, name), Named(news.since, news.until, known=known))
        named.until = news.until
        return named

    def note_entry(self, owner_id: int, mailbox_id: int, entry: Changed) -> None:
        """An entry of metadata, of the server when both are 0."""
        self.entries.setdefault((owner_id, mailbox_id), {})[entry.entry] = entry.modseq

    def forget(self, owner_id: int, mailbox_id: int) -> None:
        """A mailbox has gone: of its name something may wait, of what was in it nothing."""
        self.messages.pop((owner_id, mailbox_id), None)
        self.entries.pop((owner_id, mailbox_id), None)

    def carry(self, news: News, old: str, new: str) -> None:
        """What was to be told of a name is now true of another one."""
        for (owner, name), named in list(self.names.items()):
            if owner == news.owner_id and is_at(name, old):
                self.names.setdefault((owner, new + name[len(old) :]), replace(named, until=news.until))

    def note_rename(self, news: News, old: str, new: str) -> bool:
        """A mailbox has another name, and with it all below; False when too many such wait already."""
        owner_id, earlier = news.owner_id, self.renamed[-1] if self.renamed else None
        if earlier is not None and earlier.owner_id == owner_id and earlier.new == old:
            earlier.new, earlier.until = new, news.until
        elif len(self.renamed) < MOST_RENAMES:
            self.renamed.append(Renamed(owner_id, old, new, news.since, news.until))
        else:
            return False
        return True

    def known_as(self, owner_id: int, name: str) -> str:
        """What the client knows a mailbox as, when renames of it wait to be told."""
        for renamed in reversed(self.renamed):
            if renamed.owner_id == owner_id and is_at(name, renamed.new):
                name = renamed.old + name[len(renamed.new) :]
        return name


def after_renames(owner_id: int, name: str, renames: Iterable[Renamed]) -> str:
    """What a mailbox of this name is called after these."""
    for renamed in renames:
        if renamed.owner_id == owner_id and is_at(name, renamed.old):
            name = renamed.new + name[len(renamed.old) :]
    return name


def is_at(name: str, top: str) -> bool:
    """It is this name or one below."""
    return name == top or name.startswith(top + DELIMITER)
