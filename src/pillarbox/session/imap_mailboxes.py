"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, NAMESPACE (RFC 9051 section 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.imap import responses
from pillarbox.imap.commands import Create, Mailbox, Rename
from pillarbox.imap.events import Command
from pillarbox.session.imap_answers import Answer, Refuse, no_mailbox, refusal
from pillarbox.store import mailboxes, object_ids, sharing
from pillarbox.store.errors import Conflict, Invalid, NotFound
from pillarbox.store.mailbox_names import PREFIX, normalised

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def create(session: ImapSession, command: Command) -> Answer:
    """Make a mailbox and those above it; with USE it gets a special use (RFC 6154 section 3)."""
    args = command.args
    assert isinstance(args, Create)
    if len(args.special_use) > 1:
        raise Refuse("A mailbox has one special use at most", "USEATTR")
    use = args.special_use[0] if args.special_use else None
    try:
        made = await session.write(sharing.create, session.user_id, args.mailbox, use)
    except Conflict as error:
        existing = await session.store.read(sharing.find, session.user_id, args.mailbox)
        raise refusal(error) if existing is not None else Refuse(str(error), "LIMIT") from None
    if made.name != args.mailbox:
        _tell(session, [], made.name, args.mailbox)
    return Answer("CREATE completed", f"MAILBOXID ({object_ids.mailbox_id(made)})")


async def delete(session: ImapSession, command: Command) -> Answer:
    """Delete a mailbox with its messages; what is below it stays."""
    args = command.args
    assert isinstance(args, Mailbox)
    try:
        mailbox_id = await session.write(sharing.delete, session.user_id, args.mailbox)
    except NotFound:
        raise no_mailbox(args.mailbox) from None
    if session.selected is not None and session.selected.mailbox_id == mailbox_id:
        session.deselect()
        session.core.condition("OK", "the selected mailbox was deleted", "CLOSED")
    name = _called(args.mailbox)
    if name != args.mailbox:
        _tell(session, ["\\NonExistent"], name, args.mailbox)
    return Answer("DELETE completed")


async def rename(session: ImapSession, command: Command) -> Answer:
    """Rename a mailbox and what is below it; INBOX only loses its messages to the new one."""
    args = command.args
    assert isinstance(args, Rename)
    try:
        await session.write(sharing.rename, session.user_id, args.mailbox, args.target)
    except NotFound:
        raise no_mailbox(args.mailbox) from None
    target = _called(args.target)
    if (_called(args.mailbox), target) != (args.mailbox, args.target):
        _tell(session, [], target, args.mailbox)
    return Answer("RENAME completed")


def _called(name: str) -> str:
    """The name of a mailbox (that there is or was) as it is stored, however it was written."""
    try:
        return normalised(name)
    except Invalid:  # one of somebody else: here it stands two levels below, and may be too long for one's own
        return name


def _tell(session: ImapSession, attributes: list[str], name: str, written: str) -> None:
    """Names are normalised: what one is called that was written otherwise (RFC 9051 section 6.3.9.7)."""
    if session.rev2:
        session.core.untagged(responses.listing(attributes, name, utf8=True, old_name=written))


async def subscribe(session: ImapSession, command: Command) -> Answer:
    """SUBSCRIBE and UNSUBSCRIBE; names need not exist (RFC 9051 section 6.3.7)."""
    args = command.args
    assert isinstance(args, Mailbox)
    change = mailboxes.subscribe if command.name == "SUBSCRIBE" else mailboxes.unsubscribe
    await session.write(change, session.user_id, args.mailbox)
    return Answer(f"{command.name} completed")


async def namespace(session: ImapSession, command: Command) -> Answer:
    """One's own mailboxes, and what others share (RFC 2342)."""
    session.core.untagged(responses.namespace(others=(PREFIX,)))
    return Answer("NAMESPACE completed")
