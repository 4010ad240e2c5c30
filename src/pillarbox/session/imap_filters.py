"""FILTERS (RFC 5466): search programs that are kept in the server's metadata, an account's own or everybody's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pillarbox.imap.commands import Search
from pillarbox.imap.search import Key, with_filters
from pillarbox.imap.search_grammar import stored_program
from pillarbox.imap.syntax import BadSyntax, Refused
from pillarbox.session.imap_answers import Refuse, shown
from pillarbox.store import metadata

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

VALUES = ("/private/filters/values/", "/shared/filters/values/")  # the account's own stands before everybody's
MAX_DEPTH = 10  # filters that name filters


async def put_in(session: ImapSession, args: Search) -> None:
    """Put the programs of the filters that a search names into it. Raises Refuse when there is none of a name."""
    entries = await session.store.read(metadata.entries, session.user_id, None)
    args.key = _resolved(session, args, entries, ())
    args.filters = ()


def _resolved(session: ImapSession, args: Search, entries: metadata.Entries, above: tuple[str, ...]) -> Key:
    programs: dict[str, Key] = {}
    for name in args.filters:
        value = next((entries[place + name] for place in VALUES if place + name in entries), None)
        if value is None or name in above or len(above) >= MAX_DEPTH:
            raise Refuse("There is no such filter", f"UNDEFINED-FILTER {name}")
        try:
            found = stored_program(value, session.core.enabled)
        except (BadSyntax, Refused):
            raise Refuse("The filter is no search program", f"UNDEFINED-FILTER {name}") from None
        args.modseq = args.modseq or found.modseq
        programs[name] = _resolved(session, found, entries, (*above, name))
    return with_filters(args.key, programs)


def require_programs(changes: Iterable[tuple[str, bytes | None]]) -> None:
    """What is to be kept as a filter has to be a search program. Raises Refuse."""
    for entry, value in changes:
        if value is not None and entry.startswith(VALUES):
            try:
                stored_program(value)
            except (BadSyntax, Refused) as error:
                raise Refuse(f"This is no search program: {shown(str(error))}", "CANNOT") from None
