"""NOTIFY (RFC 5465 sections 3.1 and 8): which events of which mailboxes are to be told unasked."""

from __future__ import annotations

from pillarbox.imap.commands import EventGroup, Notify
from pillarbox.imap.fetch import FetchItem
from pillarbox.imap.fetch_grammar import fetch_atts
from pillarbox.imap.mailbox_filter import mailbox_filter
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused

MAX_GROUPS = 50
MAX_EVENTS = 50  # in one group

MESSAGE_EVENTS = ("MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange")
# All that there are, in the order in which BADEVENT names them.
EVENTS = (*MESSAGE_EVENTS, "MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange")

_SPELT = {name.upper(): name for name in EVENTS}


def notify(cursor: Cursor) -> Notify:
    """`notify` after the space that follows the command's name. Raises Refused for events that are not known."""
    what = cursor.word("SET or NONE")
    if what == "NONE":
        cursor.end()
        return Notify()
    if what != "SET":
        raise BadSyntax("it is NOTIFY SET or NOTIFY NONE")
    cursor.space()
    status = cursor.keyword(b"STATUS ")
    unknown: list[str] = []
    groups = [_group(cursor, unknown)]
    while not cursor.done:
        cursor.space()
        if len(groups) >= MAX_GROUPS:
            raise BadSyntax(f"more than {MAX_GROUPS} event groups")
        groups.append(_group(cursor, unknown))
    if sum(group.mailboxes.kind.startswith("SELECTED") for group in groups) > 1:
        raise BadSyntax("selected or selected-delayed, once, RFC 5465 section 6.1")
    if unknown:  # a NO, section 3.1
        raise Refused(f"there is no event {unknown[0][:40]} here", f"BADEVENT ({' '.join(EVENTS)})")
    return Notify(tuple(groups), status)


def _group(cursor: Cursor, unknown: list[str]) -> EventGroup:
    cursor.expect(b"(", "( before the mailboxes")
    mailboxes = mailbox_filter(cursor)
    cursor.space()
    selected = mailboxes.kind.startswith("SELECTED")
    items: list[FetchItem] = []
    events: frozenset[str] = frozenset()
    if not cursor.keyword(b"NONE"):
        found = cursor.parenthesized(lambda at: _event(at, items, selected=selected), MAX_EVENTS, "events")
        if not found:
            cursor.fail("an event")
        unknown += [name for name in found if name not in _SPELT]
        events = frozenset(_SPELT[name] for name in found if name in _SPELT)
    cursor.expect(b")", ") after the events")
    _check(events, selected=selected)
    return EventGroup(mailboxes, events, tuple(dict.fromkeys(items)))


def _event(cursor: Cursor, items: list[FetchItem], *, selected: bool) -> str:
    name = cursor.word("an event")
    if name == "MESSAGENEW" and cursor.peek(b" ("):
        if not selected:
            raise BadSyntax("FETCH items are for the selected mailbox, RFC 5465 section 8")
        cursor.space()
        items += fetch_atts(cursor)
    return name


def _check(events: frozenset[str], *, selected: bool) -> None:
    if selected and not events.issubset(MESSAGE_EVENTS):
        raise BadSyntax("the selected mailbox has events of messages only, RFC 5465 section 6.1")
    if events.intersection(MESSAGE_EVENTS) and not events.issuperset(("MessageNew", "MessageExpunge")):
        raise BadSyntax("MessageNew and MessageExpunge go together, and with the others, RFC 5465 section 5")
