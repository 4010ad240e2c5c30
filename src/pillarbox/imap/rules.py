"""Which command is legal in which state, how its arguments are read, and where that is written.

`COMMANDS` is the only place that says so. LOGOUT state hears nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pillarbox.imap import (
    acl_grammar,
    append_grammar,
    fetch_grammar,
    mailbox_grammar,
    metadata_grammar,
    multisearch_grammar,
    notify_grammar,
    quota_grammar,
    search_grammar,
    session_grammar,
    sort_grammar,
    url_grammar,
)
from pillarbox.imap.append_grammar import Segment
from pillarbox.imap.commands import Args
from pillarbox.imap.state import State
from pillarbox.imap.syntax import Cursor

Parsed = Args | Segment | tuple[str, bytes | None] | None


@dataclass(slots=True, frozen=True)
class Rule:
    """One command: legal states, parser of what follows the name, RFC and section."""

    name: str
    uid: bool
    states: tuple[State, ...]
    parse: Callable[[Cursor], Parsed]
    rfc: str
    bare: bool  # nothing may follow the name, not even a space
    numbers: bool  # it speaks of messages by their numbers (RFC 9586 section 3)


_ANY = (State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED)
_BEFORE = (State.NOT_AUTHENTICATED,)
_AFTER = (State.AUTHENTICATED, State.SELECTED)
_SELECTED = (State.SELECTED,)

_TABLE: tuple[tuple[str, tuple[State, ...], Callable[[Cursor], Parsed], str], ...] = (
    ("CAPABILITY", _ANY, session_grammar.nothing, "RFC 9051 6.1.1"),
    ("NOOP", _ANY, session_grammar.nothing, "RFC 9051 6.1.2"),
    ("LOGOUT", _ANY, session_grammar.nothing, "RFC 9051 6.1.3"),
    ("ID", _ANY, session_grammar.identification, "RFC 2971 3.1"),
    ("LANGUAGE", _ANY, session_grammar.language, "RFC 5255 3.2"),
    ("STARTTLS", _BEFORE, session_grammar.nothing, "RFC 9051 6.2.1"),
    ("AUTHENTICATE", _BEFORE, session_grammar.authenticate, "RFC 9051 6.2.2, RFC 4959"),
    ("LOGIN", _BEFORE, session_grammar.login, "RFC 9051 6.2.3"),
    ("ENABLE", _AFTER, session_grammar.enable, "RFC 9051 6.3.1"),
    ("COMPARATOR", _AFTER, session_grammar.comparator, "RFC 5255 4.7"),
    ("COMPRESS", _AFTER, session_grammar.compress, "RFC 4978 3"),
    ("SELECT", _AFTER, mailbox_grammar.select, "RFC 9051 6.3.2, RFC 7162 7"),
    ("EXAMINE", _AFTER, mailbox_grammar.examine, "RFC 9051 6.3.3, RFC 7162 7"),
    ("CREATE", _AFTER, mailbox_grammar.create, "RFC 9051 6.3.4, RFC 6154 3"),
    ("DELETE", _AFTER, mailbox_grammar.one_mailbox, "RFC 9051 6.3.5"),
    ("RENAME", _AFTER, mailbox_grammar.rename, "RFC 9051 6.3.6"),
    ("SUBSCRIBE", _AFTER, mailbox_grammar.one_mailbox, "RFC 9051 6.3.7"),
    ("UNSUBSCRIBE", _AFTER, mailbox_grammar.one_mailbox, "RFC 9051 6.3.8"),
    ("LIST", _AFTER, mailbox_grammar.listing, "RFC 9051 6.3.9, RFC 5258, RFC 5819"),
    ("LSUB", _AFTER, mailbox_grammar.lsub, "RFC 3501 6.3.9"),
    ("NAMESPACE", _AFTER, session_grammar.nothing, "RFC 9051 6.3.10"),
    ("STATUS", _AFTER, mailbox_grammar.status, "RFC 9051 6.3.11"),
    ("APPEND", _AFTER, append_grammar.append, "RFC 9051 6.3.12, RFC 3502, RFC 4469"),
    ("IDLE", _AFTER, session_grammar.nothing, "RFC 9051 6.3.13"),
    ("NOTIFY", _AFTER, notify_grammar.notify, "RFC 5465 3.1"),
    ("UNAUTHENTICATE", _AFTER, session_grammar.nothing, "RFC 8437 3"),
    ("GENURLAUTH", _AFTER, url_grammar.generate, "RFC 4467 7"),
    ("RESETKEY", _AFTER, url_grammar.reset, "RFC 4467 7"),
    ("URLFETCH", _AFTER, url_grammar.fetch, "RFC 4467 7"),
    ("GETQUOTA", _AFTER, quota_grammar.get, "RFC 9208 4.1.1"),
    ("GETQUOTAROOT", _AFTER, quota_grammar.root_of, "RFC 9208 4.1.2"),
    ("SETQUOTA", _AFTER, quota_grammar.set_, "RFC 9208 4.1.3"),
    ("GETMETADATA", _AFTER, metadata_grammar.get, "RFC 5464 4.2"),
    ("SETMETADATA", _AFTER, metadata_grammar.set_, "RFC 5464 4.3"),
    ("SETACL", _AFTER, acl_grammar.set_, "RFC 4314 3.1"),
    ("DELETEACL", _AFTER, acl_grammar.identifier, "RFC 4314 3.2"),
    ("GETACL", _AFTER, acl_grammar.mailbox, "RFC 4314 3.3"),
    ("LISTRIGHTS", _AFTER, acl_grammar.identifier, "RFC 4314 3.4"),
    ("MYRIGHTS", _AFTER, acl_grammar.mailbox, "RFC 4314 3.5"),
    ("CHECK", _SELECTED, session_grammar.nothing, "RFC 3501 6.4.1"),
    ("CLOSE", _SELECTED, session_grammar.nothing, "RFC 9051 6.4.1"),
    ("UNSELECT", _SELECTED, session_grammar.nothing, "RFC 9051 6.4.2"),
    ("EXPUNGE", _SELECTED, session_grammar.nothing, "RFC 9051 6.4.3"),
    ("SEARCH", _SELECTED, search_grammar.search, "RFC 9051 6.4.4, RFC 4731, RFC 5182"),
    ("SORT", _SELECTED, sort_grammar.sort, "RFC 5256 3, RFC 5267 3, RFC 5957"),
    ("ESEARCH", _AFTER, multisearch_grammar.esearch, "RFC 7377 2.1"),
    ("CANCELUPDATE", _SELECTED, multisearch_grammar.cancel_update, "RFC 5267 4.4"),
    ("UIDBATCHES", _SELECTED, multisearch_grammar.uid_batches, "RFC 10022 3"),
    ("THREAD", _SELECTED, sort_grammar.thread, "RFC 5256 3"),
    ("FETCH", _SELECTED, fetch_grammar.fetch, "RFC 9051 6.4.5, RFC 3516, RFC 7162"),
    ("STORE", _SELECTED, fetch_grammar.store, "RFC 9051 6.4.6, RFC 7162 3.1.3"),
    ("COPY", _SELECTED, fetch_grammar.copy, "RFC 9051 6.4.7"),
    ("MOVE", _SELECTED, fetch_grammar.copy, "RFC 9051 6.4.8"),
    ("REPLACE", _SELECTED, append_grammar.replace, "RFC 8508 3"),
    ("UID SEARCH", _SELECTED, search_grammar.search, "RFC 9051 6.4.9"),
    ("UID SORT", _SELECTED, sort_grammar.sort, "RFC 5256 3"),
    ("UID THREAD", _SELECTED, sort_grammar.thread, "RFC 5256 3"),
    ("UID FETCH", _SELECTED, fetch_grammar.uid_fetch, "RFC 9051 6.4.9"),
    ("UID STORE", _SELECTED, fetch_grammar.store, "RFC 9051 6.4.9"),
    ("UID COPY", _SELECTED, fetch_grammar.copy, "RFC 9051 6.4.9"),
    ("UID MOVE", _SELECTED, fetch_grammar.copy, "RFC 9051 6.4.9"),
    ("UID REPLACE", _SELECTED, append_grammar.uid_replace, "RFC 8508 3"),
    ("UID EXPUNGE", _SELECTED, fetch_grammar.uid_expunge, "RFC 9051 6.4.9, RFC 4315 2.1"),
)

_BY_NUMBER = frozenset({"FETCH", "STORE", "SEARCH", "COPY", "MOVE", "REPLACE", "SORT", "THREAD"})

COMMANDS: dict[str, Rule] = {
    name: Rule(
        name.removeprefix("UID "),
        name.startswith("UID "),
        states,
        parse,
        rfc,
        parse is session_grammar.nothing,
        name in _BY_NUMBER,
    )
    for name, states, parse, rfc in _TABLE
}
