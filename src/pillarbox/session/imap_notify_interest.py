"""What a client wants to be told of (RFC 5465), made fit to be asked of one mailbox after the other."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import NamedTuple

from pillarbox.imap.commands import EventGroup
from pillarbox.store.errors import Invalid
from pillarbox.store.mailbox_names import DELIMITER, INBOX, OTHERS, PREFIX, normalised, parents


class Event(IntFlag):
    """Kinds of events. MessageNew and MessageExpunge are asked for together (section 5)."""

    MESSAGES = 1
    FLAGS = 2
    NAME = 4
    SUBSCRIPTION = 8
    METADATA = 16
    SERVER = 32
    ANNOTATIONS = 64


NOTHING = Event(0)
_BITS = {
    "MessageNew": Event.MESSAGES,
    "MessageExpunge": Event.MESSAGES,
    "FlagChange": Event.FLAGS,
    "AnnotationChange": Event.ANNOTATIONS,
    "MailboxName": Event.NAME,
    "SubscriptionChange": Event.SUBSCRIPTION,
    "MailboxMetadataChange": Event.METADATA,
    "ServerMetadataChange": Event.SERVER,
}


class _Group(NamedTuple):
    kind: str
    names: frozenset[str]
    events: Event


class Interest:
    """`selected`: events of the selected mailbox, with `delayed` expunges only where a command allows them; `items` are
    fetched of its new messages. The others are asked by name.
    """

    __slots__ = ("_groups", "delayed", "items", "others", "selected", "server")

    def __init__(self, groups: Iterable[EventGroup] = ()) -> None:
        self.selected, self.delayed = NOTHING, False
        self.items = tuple(item for group in groups for item in group.items)
        self._groups: list[_Group] = []
        for group in groups:
            events = NOTHING
            for name in group.events:
                events |= _BITS[name]
            kind = group.mailboxes.kind
            if kind.startswith("SELECTED"):
                self.selected, self.delayed = events, kind == "SELECTED-DELAYED"
            elif events:
                self._groups.append(_Group(kind, _normalised(group.mailboxes.names), events))
        self.server = any(group.events & Event.SERVER for group in self._groups)
        self.others = any(map(_may_be_elsewhere, self._groups))  # mailboxes of other accounts may be meant

    @property
    def elsewhere(self) -> bool:
        """Something else than the selected mailbox is of interest."""
        return bool(self._groups)

    def events(self, name: str, subscribed: frozenset[str], *, own: bool) -> Event:
        """What is wanted of this mailbox as long as it is not selected. `own`: it is in the account's own namespace."""
        wanted = NOTHING
        for group in self._groups:
            if group.events & ~wanted and _meant(group, name, subscribed, own=own):
                wanted |= group.events
        return wanted


def _meant(group: _Group, name: str, subscribed: frozenset[str], *, own: bool) -> bool:
    match group.kind:
        case "PERSONAL":
            return own
        case "INBOXES":  # where mail is delivered
            return own and name == INBOX
        case "SUBSCRIBED":
            return name in subscribed
        case "MAILBOXES":
            return name in group.names
        case "SUBTREE":
            return "" in group.names or name in group.names or not group.names.isdisjoint(parents(name))
        case "SUBTREE-ONE":
            return name in group.names or name.rpartition(DELIMITER)[0] in group.names
    return False


def _normalised(names: Iterable[str]) -> frozenset[str]:
    """As the store has them; those that no mailbox can have are ignored (section 3.1). "" is above all."""
    found = set()
    for name in names:
        try:
            found.add(normalised(name) if name else "")
        except Invalid:
            continue
    return frozenset(found)


def _may_be_elsewhere(group: _Group) -> bool:
    if group.kind == "SUBSCRIBED":
        return True
    return any(not name or name == OTHERS or name.startswith(PREFIX) for name in group.names)
