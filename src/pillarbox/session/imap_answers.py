"""How a command ends when it cannot be done, and what the store's errors are called in IMAP (RFC 5530)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NamedTuple

from pillarbox.store import errors


class Answer(NamedTuple):
    """How a command ends: the tagged response. `code` is without its brackets."""

    text: str
    code: str | None = None
    status: str = "OK"
    expunged: bool = False  # a HIGHESTMODSEQ code goes with it when QRESYNC is enabled (RFC 7162 section 3.2.10)
    current: bool = False  # the session knew of all that had happened to its mailbox when it changed that itself
    fresh: bool = False  # the selected mailbox was read in this turn of the loop: only the watch can have news of it


Work = Coroutine[Any, Any, Answer]
"""A command being answered."""


class Refuse(Exception):
    """Ends a command with a tagged NO or BAD; nothing has been changed. `code` is without its brackets."""

    def __init__(self, text: str, code: str | None = None, *, status: str = "NO") -> None:
        super().__init__(text)
        self.answer = Answer(text, code, status)


def bad(text: str) -> Refuse:
    """The client's own mistake: tagged BAD."""
    return Refuse(text, status="BAD")


def no_mailbox(name: str, *, try_create: bool = False) -> Refuse:
    """The mailbox does not exist. `try_create` where the client may create it and repeat (APPEND, COPY, MOVE)."""
    return Refuse(f"There is no mailbox {shown(name)}", "TRYCREATE" if try_create else "NONEXISTENT")


class SourceGone(errors.NotFound):
    """In a transaction: messages that the command is about are not there any more, and nothing of it is done. It is
    answered `gone` (RFC 9051 section 6.4.7, RFC 8508 section 3)."""


def gone() -> Refuse:
    """Some of the messages were expunged by another session; a NOOP will tell which."""
    return Refuse("Some of these messages no longer exist", "EXPUNGEISSUED")


def refusal(error: errors.StoreError) -> Refuse:
    """What a client is told of a failure of the store."""
    match error:
        case errors.OverQuota():
            return Refuse("The quota of this account is used up", "OVERQUOTA")
        case errors.Denied():
            return Refuse("You have not the right to do that", "NOPERM")
        case errors.Full():
            return Refuse("The server's disk is full, try again later", "UNAVAILABLE")
        case errors.Temporary():
            return Refuse("The mail store is busy, try again later", "UNAVAILABLE")
        case errors.NotFound():
            return Refuse("That does not exist any more", "NONEXISTENT")
        case errors.Conflict():
            return Refuse(_said(error, "That name exists already"), "ALREADYEXISTS")
        case errors.Invalid():
            return Refuse(_said(error, "That cannot be stored"), "CANNOT")
        case errors.Corrupt():
            return Refuse("The mail store is damaged here, tell the operator", "CORRUPTION")
    return Refuse("The server made a mistake and has logged it", "SERVERBUG")


def _said(error: Exception, otherwise: str) -> str:
    text = shown(str(error))
    return text if text else otherwise


def shown(text: str) -> str:
    """Text from elsewhere, fit for a response line: printable ASCII, bounded."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:200])
