"""STATUS: from the counts that the store keeps with each mailbox (RFC 9051 section 6.3.11, RFC 8438, RFC 7889)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pillarbox.imap import responses
from pillarbox.imap.commands import Status
from pillarbox.imap.events import Command
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer
from pillarbox.store import Tx, mailboxes, messages, object_ids
from pillarbox.store.errors import NotFound
from pillarbox.store.records import Mailbox

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_COUNTED = frozenset({"RECENT", "DELETED-STORAGE"})  # of the messages themselves; the rest is kept with the mailbox


async def status(session: ImapSession, command: Command) -> Answer:
    """Answer STATUS."""
    args = command.args
    assert isinstance(args, Status)
    box = (await session.store.read(seen, session.user_id, args.mailbox, "r")).box
    items = await status_items(session, box, args.items)
    session.core.untagged(responses.status(box.name, items, session.utf8))
    return Answer("STATUS completed")


async def status_items(session: ImapSession, box: Mailbox, items: Sequence[str]) -> list[tuple[str, int | str]]:
    """The values of these items, in their order, all of one moment."""
    recent = freed = 0
    if not _COUNTED.isdisjoint(items):
        with suppress(NotFound):  # deleted since: it is told as it was when it was found
            box, recent, freed = await session.store.read(_counted, box.id, items)
    values: list[tuple[str, int | str]] = []
    for item in items:
        if item == "RECENT":
            values.append((item, recent))
        elif item == "DELETED-STORAGE":
            values.append((item, freed))
        elif item == "MAILBOXID":
            values.append((item, f"({object_ids.mailbox_id(box)})"))
        else:
            if item == "HIGHESTMODSEQ":
                session.condstore_used()  # RFC 7162 section 3.1
            values.append((item, _value(session, box, item)))
    return values


def _counted(tx: Tx, mailbox_id: int, items: Sequence[str]) -> tuple[Mailbox, int, int]:
    """A mailbox, and in the same moment its recent messages and the octets of those marked as deleted, if they are
    wanted. Raises NotFound."""
    box = mailboxes.get(tx, mailbox_id)
    some_recent = "RECENT" in items and box.first_recent_uid < box.uidnext and box.message_count > 0
    recent = messages.count_recent(tx, mailbox_id) if some_recent else 0
    freed = messages.deleted_size(tx, mailbox_id) if "DELETED-STORAGE" in items and box.deleted_count else 0
    return box, recent, freed


def _value(session: ImapSession, box: Mailbox, item: str) -> int:
    match item:
        case "MESSAGES":
            return box.message_count
        case "UIDNEXT":
            return box.uidnext
        case "UIDVALIDITY":
            return box.uidvalidity
        case "UNSEEN":
            return box.unseen_count
        case "DELETED":
            return box.deleted_count
        case "SIZE":
            return box.total_size
        case "HIGHESTMODSEQ":
            return box.highestmodseq
        case "APPENDLIMIT":
            return session.core.limits.append
    raise ValueError(f"no such STATUS item: {item}")
