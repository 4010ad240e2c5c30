"""APPEND: the literal goes through the spool as it comes, the message into the mailbox in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pillarbox.flow.spool import Spool, SpoolError
from pillarbox.imap.commands import Append
from pillarbox.imap.events import AppendEnd, AppendStart, LiteralChunk
from pillarbox.imap.responses import appenduid
from pillarbox.session.imap_answers import Answer, Refuse, bad, no_mailbox
from pillarbox.store import Tx, mailboxes, messages
from pillarbox.store.errors import NotFound
from pillarbox.store.records import Appended, NewMessage

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

log = structlog.get_logger()


class Appending:
    """One APPEND from its literal to its end."""

    __slots__ = ("args", "spool", "tag")

    def __init__(self, tag: bytes, args: Append, spool: Spool) -> None:
        self.tag = tag
        self.args = args
        self.spool = spool


async def begin(session: ImapSession, event: AppendStart) -> Appending:
    """Take the literal, or refuse it before it is sent (when the client waits for us)."""
    args = event.args
    box = await session.store.read(mailboxes.find, session.user_id, args.mailbox)
    if box is None:
        raise no_mailbox(args.mailbox, try_create=True)
    if args.size == 0:
        raise Refuse("An empty message cannot be stored", "CANNOT")
    if session.node.disk.is_low():
        raise Refuse("The server's disk is almost full, try again later", "UNAVAILABLE")
    session.core.accept_literal()
    return Appending(event.tag, args, Spool(session.node, args.size))


async def chunk(appending: Appending, event: LiteralChunk) -> None:
    """Keep some more octets; waits while memory or the store are busy, and the client with it."""
    pause = appending.spool.feed(event.data)
    if pause is not None:
        await pause


async def end(session: ImapSession, appending: Appending, event: AppendEnd) -> Answer:
    """Store the message and answer with APPENDUID once it is committed."""
    spool, args = appending.spool, appending.args
    stored = False
    try:
        if event.fault:
            raise bad(event.fault)
        try:
            message = spool.finish_now() or await spool.finish()
        except SpoolError as error:
            raise Refuse(f"Not now: {error}", "UNAVAILABLE") from None
        try:
            size = len(message.packed) if message.packed is not None else 0
            made = await session.store.write(_appended, session.user_id, args, message, size=size)
        except NotFound:
            raise no_mailbox(args.mailbox, try_create=True) from None
        stored = True
        log.info("Message appended", mailbox=args.mailbox, uid=made.uid, size=spool.size, user=session.username)
    finally:
        spool.close(stored=stored)
    return Answer("APPEND completed", appenduid(made.uidvalidity, [made.uid]))


def _appended(tx: Tx, user_id: int, args: Append, message: NewMessage) -> Appended:
    box = mailboxes.find(tx, user_id, args.mailbox)  # it may have been renamed or deleted since the command began
    if box is None:
        raise NotFound(args.mailbox)
    return messages.append(tx, box.id, message, args.flags, args.keywords, args.date)
