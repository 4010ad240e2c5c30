"""STATUS: from the counts that the store keeps with each mailbox (RFC 9051 section 6.3.11, RFC 8438, RFC 7889)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.imap import responses
from pillarbox.imap.commands import Status
from pillarbox.imap.events import Command
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer
from pillarbox.store import messages, object_ids
from pillarbox.store.records import Mailbox

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def status(session: ImapSession, command: Command) -> Answer:
    """Answer STATUS."""
    args = command.args
    assert isinstance(args, Status)
    box = (await session.store.read(seen, session.user_id, args.mailbox, "r")).box
    items = await status_items(session, box, args.items)
    session.core.untagged(responses.status(box.name, items, session.utf8))
    return Answer("STATUS completed")


async def status_items(session: ImapSession, box: Mailbox, items: Sequence[str]) -> list[tuple[str, int | str]]:
    """The values of these items, in their order."""
    values: list[tuple[str, int | str]] = []
    for item in items:
        if item == "RECENT":
            recent = box.first_recent_uid < box.uidnext and box.message_count > 0
            values.append((item, await session.store.read(messages.count_recent, box.id) if recent else 0))
        elif item == "DELETED-STORAGE":
            freed = await session.store.read(messages.deleted_size, box.id) if box.deleted_count else 0
            values.append((item, freed))
        elif item == "MAILBOXID":
            values.append((item, f"({object_ids.mailbox_id(box)})"))
        else:
            if item == "HIGHESTMODSEQ":
                session.condstore_used()  # RFC 7162 section 3.1
            values.append((item, _value(session, box, item)))
    return values


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
