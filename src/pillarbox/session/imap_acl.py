"""SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.imap import acl_grammar
from pillarbox.imap.commands import Acl
from pillarbox.imap.events import Command
from pillarbox.session.imap_answers import Answer, Refuse, no_mailbox
from pillarbox.store import Tx, directory, rights, sharing
from pillarbox.store.errors import NotFound
from pillarbox.store.records import Mailbox
from pillarbox.store.sharing import Seen

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


def seen(tx: Tx, user_id: int, name: str, wanted: str, *, try_create: bool = False) -> Seen:
    """The mailbox of this name. Raises Refuse when there is none, or when a wanted right is missing."""
    found = sharing.find(tx, user_id, name)
    if found is None:
        raise no_mailbox(name, try_create=try_create)
    if not found.may(wanted):
        raise Refuse("You have not the right to do that in this mailbox", "NOPERM")
    return found


async def set_(session: ImapSession, command: Command) -> Answer:
    """Answer SETACL and DELETEACL."""
    args = command.args
    assert isinstance(args, Acl)
    operation, letters = (args.operation, args.rights) if command.name == "SETACL" else ("=", "")
    try:
        await session.write(_change, session.user_id, args.mailbox, args.identifier, operation, letters)
    except NotFound:
        raise Refuse("There is no user of that name", "NONEXISTENT") from None
    return Answer(f"{command.name} completed")


def _change(tx: Tx, user_id: int, name: str, identifier: str, operation: str, letters: str) -> None:
    box = seen(tx, user_id, name, "a").box
    rights.change(tx, box.user_id, box.id, identifier, operation, letters)


async def get(session: ImapSession, command: Command) -> Answer:
    """Answer GETACL."""
    args = command.args
    assert isinstance(args, Acl)
    box, pairs = await session.store.read(_listed, session.user_id, args.mailbox)
    session.core.untagged(acl_grammar.acl(box.name, pairs, session.utf8))
    return Answer("GETACL completed")


def _listed(tx: Tx, user_id: int, name: str) -> tuple[Mailbox, list[tuple[str, str]]]:
    box = seen(tx, user_id, name, "a").box
    owner = directory.get_user(tx, box.user_id).username
    return box, [(owner, rights.ALL), *rights.listed(tx, box.user_id, box.id)]


async def list_rights(session: ImapSession, command: Command) -> Answer:
    """Answer LISTRIGHTS: the owner has all of them, to others each can be given by itself."""
    args = command.args
    assert isinstance(args, Acl)
    box, owner = await session.store.read(_owner, session.user_id, args.mailbox)
    mine = args.identifier.lower() == owner.lower()
    required, optional = (rights.ALL, "") if mine else ("", rights.ALL + "cd")  # RFC 4314 section 2.1.1
    session.core.untagged(acl_grammar.list_rights(box.name, args.identifier, required, optional, session.utf8))
    return Answer("LISTRIGHTS completed")


def _owner(tx: Tx, user_id: int, name: str) -> tuple[Mailbox, str]:
    box = seen(tx, user_id, name, "a").box
    return box, directory.get_user(tx, box.user_id).username


async def my_rights(session: ImapSession, command: Command) -> Answer:
    """Answer MYRIGHTS: whoever has one of the rights l r i k x a may ask (RFC 4314 section 4)."""
    args = command.args
    assert isinstance(args, Acl)
    found = await session.store.read(seen, session.user_id, args.mailbox, "")
    session.core.untagged(acl_grammar.my_rights(found.box.name, found.rights, session.utf8))
    return Answer("MYRIGHTS completed")
