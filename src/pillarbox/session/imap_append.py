"""APPEND and REPLACE: literals and URLs go through spools as they come, all messages into the mailbox in one
transaction (RFC 9051 section 6.3.12, RFC 3502, RFC 4469, RFC 8508).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog

from pillarbox.flow.spool import Spool, SpoolError
from pillarbox.imap import flags
from pillarbox.imap.commands import Append
from pillarbox.imap.events import AppendEnd, AppendStart, CatenateText, CatenateUrl, LiteralChunk
from pillarbox.imap.responses import appenduid
from pillarbox.mime.downgrade import Untouchable
from pillarbox.session import imap_annotations
from pillarbox.session.binary_mail import encoded
from pillarbox.session.imap_acl import seen
from pillarbox.session.imap_answers import Answer, Refuse, SourceGone, gone, no_mailbox
from pillarbox.session.imap_append_held import Held, New
from pillarbox.session.imap_store import permitted
from pillarbox.session.imap_urls import octets_of
from pillarbox.store import Store, Tx, annotating, messages
from pillarbox.store.annotating import Change
from pillarbox.store.errors import NotFound
from pillarbox.store.records import Appended

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

log = structlog.get_logger()


class Appending:
    """One APPEND or REPLACE from its first message to its end."""

    __slots__ = ("args", "held", "octets", "replaced", "spool", "store", "tag")

    def __init__(self, tag: bytes, args: Append, replaced: tuple[int, int] | None, store: Store) -> None:
        self.tag = tag
        self.args = args  # of the message that comes
        self.replaced = replaced  # mailbox and UID
        self.store = store
        self.spool: Spool | None = None  # of the message that comes
        self.held = Held()
        self.octets = 0  # of all messages that are whole

    def close(self, *, stored: bool = False) -> None:
        """Give back what the messages hold."""
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        self.held.close(self.store, stored=stored)


async def begin(session: ImapSession, event: AppendStart) -> Appending:
    """The first message is announced: take it, or refuse it before it is sent (when the client waits for us)."""
    args = event.args
    replaced: tuple[int, int] | None = None
    if args.replaces is not None:
        selected = session.writable("te")
        picks = session.pick(args.replaces, uid=args.uid)
        if not picks:
            raise Refuse("There is no such message", "NONEXISTENT")
        replaced = (selected.mailbox_id, selected.uids[picks[0].start])
    await session.store.read(seen, session.user_id, args.mailbox, "i", try_create=True)
    appending = Appending(event.tag, args, replaced, session.store)
    try:
        await another(session, appending, event)
    except BaseException:
        appending.close()
        raise
    return appending


async def another(session: ImapSession, appending: Appending, event: AppendStart) -> None:
    """A message begins; the one before it is complete (RFC 3502)."""
    await _finish(session, appending)
    args = appending.args = event.args
    if args.size == 0 and not args.catenate:
        raise Refuse("An empty message cannot be stored", "CANNOT")  # it also cancels the others, RFC 3502 section 6.3
    most = session.core.limits.save
    if len(appending.held) >= most:  # RFC 9738 section 3: all of them or none
        raise Refuse(f"One command takes at most {most} messages", f"MESSAGELIMIT {most}")
    if session.node.disk.is_low():
        raise Refuse("The server's disk is almost full, try again later", "UNAVAILABLE")
    appending.spool = Spool(session.node)
    if args.catenate:
        session.core.go_on()
    else:
        session.core.accept_literal()


async def part(session: ImapSession, appending: Appending, event: CatenateUrl | CatenateText) -> None:
    """The next part of a message that is put together (RFC 4469)."""
    spool = appending.spool
    assert spool is not None
    most = session.core.limits.append
    if isinstance(event, CatenateText):
        if spool.size + event.size > most:
            raise Refuse(f"A message has at most {most} octets", "TOOBIG")
        session.core.accept_literal()
        return
    async for octets in octets_of(session, event.url):
        if spool.size + len(octets) > most:
            raise Refuse(f"A message has at most {most} octets", "TOOBIG")
        pause = spool.feed(octets)
        if pause is not None:
            await pause
    session.core.go_on()


async def chunk(appending: Appending, event: LiteralChunk) -> None:
    """Keep some more octets; waits while memory or the store are busy, and the client with it."""
    assert appending.spool is not None
    pause = appending.spool.feed(event.data)
    if pause is not None:
        await pause


async def _finish(session: ImapSession, appending: Appending) -> None:
    """The message that came is whole."""
    spool = appending.spool
    if spool is None:
        return
    if spool.size == 0:
        raise Refuse("An empty message cannot be stored", "CANNOT")
    try:
        message = spool.finish_now() or await spool.finish()
        if spool.has_nul:
            spool, message = await encoded(session.node, spool, message)
            appending.spool = spool
    except SpoolError as error:
        raise Refuse(f"Not now: {error}", "UNAVAILABLE") from None
    except Untouchable as error:
        raise Refuse(f"A NUL is stored encoded, which cannot be done here: {error}", "UNKNOWN-CTE") from None
    imap_annotations.require_parts(appending.args.annotations, message.analysis.parts)
    appending.spool = None
    appending.octets += spool.size
    await appending.held.add(appending.store, appending.args, message, spool)


async def end(session: ImapSession, appending: Appending, event: AppendEnd) -> Answer:
    """Store the messages and answer with APPENDUID once they are committed."""
    args = appending.args
    stored = False
    try:
        if event.fault:
            raise Refuse(event.fault, event.code, status=event.status)
        await _finish(session, appending)
        new = appending.held.messages
        size = sum(len(message.packed) for _, message in new if message.packed is not None)
        try:
            made = await imap_annotations.kept(
                session.write(_appended, session.user_id, new, appending.replaced, size=size)
            )
        except SourceGone:
            raise gone() from None
        except NotFound:
            raise no_mailbox(args.mailbox, try_create=True) from None
        stored = True
        # After the client has its answer: a line of the log takes as long as the rest of that.
        about = {"mailbox": args.mailbox, "uid": made[-1].uid, "size": appending.octets, "user": session.username}
        asyncio.get_running_loop().call_soon(partial(log.info, "Message appended", **about))
    finally:
        appending.close(stored=stored)
    code = appenduid(made[0].uidvalidity, [one.uid for one in made])
    if appending.replaced is None:
        return Answer("APPEND completed", code)
    session.core.condition("OK", "the replacement is stored", code)  # before the EXPUNGE, RFC 8508 section 3.4
    return Answer("REPLACE completed", expunged=True)


def _appended(tx: Tx, user_id: int, new: Sequence[New], replaced: tuple[int, int] | None) -> list[Appended]:
    """All of the messages, and the one that they replace goes: or nothing."""
    target = new[0][0].mailbox
    # It may have been renamed or deleted since the command began.
    box, rights = seen(tx, user_id, target, "i", try_create=True)
    mask = permitted(rights)
    if replaced is not None:
        mailbox_id, uid = replaced
        messages.store_flags(tx, mailbox_id, [uid], "add", flags.DELETED)
        if not messages.expunge(tx, mailbox_id, [uid]).uids:
            raise SourceGone(target)
    made = []
    for args, message in new:
        keywords = args.keywords if "w" in rights else ()
        one = messages.append(tx, box.id, message, args.flags & mask, keywords, args.date)
        if args.annotations:
            imap_annotations.require_right(args.annotations, rights)
            changes = [Change(*change) for change in args.annotations]
            annotating.put(tx, box.id, box.user_id, user_id, [one.uid], changes, one.modseq)
        made.append(one)
    return made
