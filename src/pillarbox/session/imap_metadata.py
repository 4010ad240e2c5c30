"""GETMETADATA and SETMETADATA (RFC 5464): of mailboxes, and of the server, whose name is empty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pillarbox.imap import metadata_grammar
from pillarbox.imap.commands import GetMetadata, SetMetadata
from pillarbox.imap.events import Command
from pillarbox.imap.mailbox_grammar import SPECIAL_USES
from pillarbox.session import imap_filters
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer, Refuse
from pillarbox.store import Tx, directory, mailboxes, metadata
from pillarbox.store.metadata import Entries
from pillarbox.store.records import Mailbox

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

SPECIAL_USE = "/private/specialuse"  # RFC 6154 section 4

Values = list[tuple[str, bytes | None]]


async def get(session: ImapSession, command: Command) -> Answer:
    """Answer GETMETADATA."""
    args = command.args
    assert isinstance(args, GetMetadata)
    name, found = await session.store.read(_entries, session.user_id, args.mailbox)
    chosen = choose(found, args.entries, args.depth)
    sizes = [len(value) for _, value in chosen if value is not None]
    longest = max(sizes, default=0)
    code = None
    if args.max_size is not None and longest > args.max_size:
        code = f"METADATA LONGENTRIES {longest}"
        chosen = [(entry, value) for entry, value in chosen if value is None or len(value) <= args.max_size]
    if chosen:
        session.core.untagged(metadata_grammar.metadata(name, chosen, session.utf8))
    return Answer("GETMETADATA completed", code)


def _entries(tx: Tx, user_id: int, name: str) -> tuple[str, Entries]:
    if not name:
        return "", metadata.entries(tx, user_id, None)
    box = seen(tx, user_id, name, "r").box
    return box.name, entries_of(tx, user_id, box)


def entries_of(tx: Tx, user_id: int, box: Mailbox) -> Entries:
    """What an account sees of a mailbox, its special use among it."""
    found = metadata.entries(tx, user_id, box.id)
    if box.special_use and box.user_id == user_id:
        found[SPECIAL_USE] = box.special_use.encode()
    return found


def choose(found: Entries, wanted: Iterable[str], depth: int = 0) -> Values:
    """The entries that are named; those that are not there are NIL. With a depth of 1 or -1 (any) those below too."""
    chosen: dict[str, bytes | None] = {}
    for entry in wanted:
        if not depth or entry in found:
            chosen[entry] = found.get(entry)
        if depth:
            below = entry + "/"
            for other, value in found.items():
                if other.startswith(below) and (depth < 0 or "/" not in other[len(below) :]):
                    chosen[other] = value
    return [*chosen.items()]


async def set_(session: ImapSession, command: Command) -> Answer:
    """Answer SETMETADATA: all of the entries or none."""
    args = command.args
    assert isinstance(args, SetMetadata)
    if not args.mailbox:
        imap_filters.require_programs(args.entries)
    try:
        await session.write(_set, session.user_id, args.mailbox, args.entries)
    except metadata.TooLarge:
        raise Refuse("A value is too large", f"METADATA MAXSIZE {metadata.MAX_VALUE}") from None
    except metadata.TooMany:
        raise Refuse("There are too many entries", "METADATA TOOMANY") from None
    return Answer("SETMETADATA completed")


def _set(tx: Tx, user_id: int, name: str, changes: Sequence[tuple[str, bytes | None]]) -> None:
    shared = any(not entry.startswith(metadata.PRIVATE) for entry, _ in changes)
    if not name:
        if shared and directory.get_user(tx, user_id).role != "admin":
            raise Refuse("Only an administrator changes shared entries of the server", "NOPERM")
        metadata.store(tx, user_id, None, changes)
        return
    box = seen(tx, user_id, name, "rw" if shared else "r").box  # RFC 5464 section 3.3
    for entry, value in changes:
        if entry == SPECIAL_USE and box.user_id == user_id:
            mailboxes.set_special_use(tx, user_id, box.name, _use(value))
            metadata.note(tx, user_id, box.id, [entry], user_id)
    others = [change for change in changes if change[0] != SPECIAL_USE]
    metadata.store(tx, user_id, box.id, others, box.user_id)


def _use(value: bytes | None) -> str | None:
    if not value:
        return None
    use = SPECIAL_USES.get(value.decode("ascii", "replace").lower())
    if use is None:
        raise Refuse("A mailbox has one of the special uses of RFC 6154 at most", "USEATTR")
    return use
