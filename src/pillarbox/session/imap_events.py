"""What is answered to each event of the core.

After every command of a selected mailbox the session looks whether the store has news and tells them, in IDLE as soon
as the watch wakes it. A command is answered after the commit of what it did; nobody else hears of it before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from pillarbox.access.ledger import Field
from pillarbox.imap.events import (
    AppendEnd,
    AppendStart,
    Authenticate,
    AuthResponse,
    CatenateText,
    CatenateUrl,
    Command,
    Event,
    Idle,
    IdleDone,
    LiteralChunk,
    Logout,
    StartTls,
)
from pillarbox.store.errors import Away, NotFound, StoreError

from . import imap_append, imap_login, imap_news
from .compression import Compression
from .connection import Lost
from .imap_answers import Answer, Refuse, Work, bad, refusal
from .imap_commands import HANDLERS

if TYPE_CHECKING:
    from .imap import ImapSession

log = structlog.get_logger()

_NO_EXPUNGE = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD"})  # by numbers: RFC 9051 7.5.1


async def answer(session: ImapSession, event: Event) -> None:
    """Answer an event on the core. Raises Lost when the connection has gone."""
    match event:
        case Command():
            session.node.slot.add(Field.IMAP_COMMANDS)
            await _command(session, event)
        case LiteralChunk():
            if session.appending is not None:
                await imap_append.chunk(session.appending, event)
        case AppendStart(tag) | CatenateUrl(tag) | CatenateText(tag):
            await _append(session, tag, event)
        case AppendEnd(tag):
            appending, session.appending = session.appending, None
            assert appending is not None
            outcome = await _outcome(session, imap_append.end(session, appending, event))
            await _finish(session, tag, outcome, expunge=True)
        case Idle():
            session.core.continuation("idling")
            session.idling = True
            session.dirty = session.selected is not None  # tells what waits, and what no hint has told
        case IdleDone(tag, fault):
            session.idling = False
            await _finish(session, tag, Answer("IDLE ended") if fault is None else bad(fault).answer, expunge=True)
        case Authenticate(tag) | AuthResponse(tag):
            await _authenticate(session, tag, event)
        case StartTls():
            await session.start_tls()
        case Logout():
            session.deselect()
            session.core.logout()


async def _command(session: ImapSession, command: Command) -> None:
    shared = session.dirty and session.selected is not None and not session.selected.own
    work = _permitted(session, command) if shared else HANDLERS[command.name](session, command)
    expunge = command.uid or command.name not in _NO_EXPUNGE
    answer = await _outcome(session, work)
    await _finish(session, command.tag, answer, expunge=expunge)
    if session.switch_compression:
        _switch(session)


async def _permitted(session: ImapSession, command: Command) -> Answer:
    """Carry it out by the rights to the selected mailbox as they are now. What else is new is told at the end:
    until then numbers are those that the client knows."""
    selected = session.selected
    assert selected is not None
    try:
        await imap_news.read_rights(session, selected)
    except NotFound:
        session.gone()
        raise Refuse("The mailbox is not shared with you any more", "NOPERM") from None
    return await HANDLERS[command.name](session, command)


def _switch(session: ImapSession) -> None:
    """From here on what is said is compressed, or is not any more."""
    session.flush()
    session.switch_compression = False
    if session.compression is None:
        session.compression = Compression()
        session.compression.hold(session.core.take_buffered())
    else:
        session.compression = None


async def _outcome(session: ImapSession, work: Work) -> Answer:
    """How a handler ended, its failures as answers."""
    try:
        return await work
    except Refuse as refused:
        return refused.answer
    except StoreError as error:
        answer = refusal(error).answer
        if answer.code in ("SERVERBUG", "CORRUPTION"):
            log.error("A command could not be carried out", error=repr(error), peer=str(session.peer))
            session.node.slot.add(Field.ERRORS)
        else:
            log.info("A command was refused by the store", error=repr(error), peer=str(session.peer))
        return answer
    except (Lost, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("A command failed", peer=str(session.peer))
        session.node.slot.add(Field.ERRORS)
        return Answer("The server made a mistake and has logged it", "SERVERBUG", "NO")


async def _finish(session: ImapSession, tag: bytes, answer: Answer, *, expunge: bool) -> None:
    """Tell the news of the mailbox, then how the command ended."""
    code = answer.code
    if session.selected is not None and answer.status != "BAD" and (session.dirty or not answer.fresh):
        try:
            if not answer.current:
                await imap_news.look(session, thaw=answer.expunged)
            await imap_news.tell(session, expunge=expunge or session.any_time)
        except NotFound:
            session.gone()
        except Away:
            pass  # the next command looks again
        except StoreError as error:
            log.warning("News of a mailbox could not be read", error=str(error))
        if answer.expunged and session.qresync and session.selected is not None:
            code = f"HIGHESTMODSEQ {session.selected.highestmodseq}"
    session.core.tagged(tag, answer.status, answer.text, code)


async def _append(session: ImapSession, tag: bytes, event: AppendStart | CatenateUrl | CatenateText) -> None:
    """A message, or a part of one, is announced. A refusal ends the command, and nothing of it is kept."""
    answer: Answer
    try:
        appending = session.appending
        if appending is None:
            assert isinstance(event, AppendStart)
            session.appending = await imap_append.begin(session, event)
        elif isinstance(event, AppendStart):
            await imap_append.another(session, appending, event)
        else:
            await imap_append.part(session, appending, event)
        return
    except Refuse as refused:
        answer = refused.answer
    except StoreError as error:
        answer = refusal(error).answer
    if session.appending is not None:
        session.appending.close()
        session.appending = None
    await _finish(session, tag, answer, expunge=True)


async def _authenticate(session: ImapSession, tag: bytes, event: Authenticate | AuthResponse) -> None:
    try:
        answer = await imap_login.authenticate(session, event)
    except Refuse as refused:
        answer = refused.answer
    if answer is not None:
        await _finish(session, tag, answer, expunge=True)
