"""ESEARCH, the command (RFC 7377), CANCELUPDATE (RFC 5267) and UIDBATCHES (RFC 10022)."""

from __future__ import annotations

from pillarbox.imap.commands import CancelUpdate, MultiSearch, UidBatches
from pillarbox.imap.mailbox_filter import MailboxFilter, mailbox_filter
from pillarbox.imap.search import And, Fuzzy, Key, Not, Numbers, Or, Uids
from pillarbox.imap.search_grammar import program
from pillarbox.imap.syntax import BadSyntax, Cursor

MAX_FILTERS = 50


def esearch(cursor: Cursor) -> MultiSearch:
    """`esearch` after the space that follows the command's name."""
    filters: tuple[MailboxFilter, ...] = ()
    if cursor.keyword(b"IN "):
        cursor.expect(b"(", "( before the mailboxes")
        found = [mailbox_filter(cursor)]
        while not cursor.skip(b")"):
            cursor.space()
            if len(found) >= MAX_FILTERS:
                raise BadSyntax(f"more than {MAX_FILTERS} sources")
            found.append(mailbox_filter(cursor))
        cursor.space()
        filters = tuple(found)
    made = program(cursor, None)
    if made.update:
        raise BadSyntax("UPDATE goes with SEARCH and SORT")
    elsewhere = any(not one.kind.startswith("SELECTED") for one in filters)
    if elsewhere and "SAVE" in (made.returns or ()):
        raise BadSyntax("SAVE is for the selected mailbox, RFC 7377 section 2.2")
    if elsewhere and _numbered(made.key):
        raise BadSyntax("message numbers and $ mean nothing in other mailboxes, RFC 7377 section 2.2")
    return MultiSearch(filters, made)


def _numbered(key: Key) -> bool:
    match key:
        case Numbers():
            return True
        case Uids(sequence):
            return sequence.saved
        case And(keys=keys) | Or(keys=keys):
            return any(map(_numbered, keys))
        case Not(key=inner) | Fuzzy(key=inner):
            return _numbered(inner)
    return False


def cancel_update(cursor: Cursor) -> CancelUpdate:
    """`cancelupdate`: tags as strings."""
    tags = [cursor.string("a tag")]
    while not cursor.done:
        cursor.space()
        tags.append(cursor.string("a tag"))
    return CancelUpdate(tuple(tags))


def uid_batches(cursor: Cursor) -> UidBatches:
    """`uidbatches`: a batch size, and perhaps which batches (1 has the highest UIDs)."""
    size = cursor.number(0xFFFFFFFF, "a batch size")
    if not size:
        raise BadSyntax("a batch has at least one message")
    if cursor.done:
        return UidBatches(size)
    cursor.space()
    first = cursor.number(0xFFFFFFFF, "a batch")
    cursor.expect(b":", "a colon between two batches")
    last = cursor.number(0xFFFFFFFF, "a batch")
    cursor.end()
    if not first or not last:
        raise BadSyntax("batches begin at 1")
    return UidBatches(size, (first, last))
