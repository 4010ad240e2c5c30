"""SEARCH and SORT: flags, numbers, dates and sizes from the columns, texts from the stored bytes in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.imap import responses
from pillarbox.imap.commands import Search
from pillarbox.imap.events import Command
from pillarbox.imap.return_grammar import positions
from pillarbox.imap.search import Key
from pillarbox.imap.sequence import SequenceSet, compact
from pillarbox.session.imap_answers import Answer, Refuse, bad
from pillarbox.session.imap_search_index import looked_up
from pillarbox.session.imap_search_plan import Plan, indexes, plan
from pillarbox.session.imap_search_text import Wanted, matching
from pillarbox.session.imap_selected import Selected
from pillarbox.session.imap_sort import in_order
from pillarbox.store.errors import StoreError

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_NONE = SequenceSet(())
INLINE = 5000  # messages whose columns are looked through on the loop
_PAGE = 200  # messages that one visit to a reader thread looks at
PROGRESS = 10.0  # seconds between two words of how far a search is
PAGE_OCTETS = 4 << 20  # octets of them: what was computed of a message may be as large as the message itself


async def search(session: ImapSession, command: Command) -> Answer:
    """Answer SEARCH or SORT with their own response or `ESEARCH`, and keep the result when SAVE asks for it."""
    args, selected = command.args, session.selected
    assert isinstance(args, Search)
    assert selected is not None
    save = args.returns is not None and "SAVE" in args.returns
    try:
        found = await found_by(session, command, selected)
        ordered = await in_order(session, selected, args.sort, found) if args.sort else found
    except (Refuse, StoreError):
        if save:
            selected.saved = _NONE  # a search that ended in NO leaves an empty result, RFC 5182 section 2.1
        raise
    if save:
        selected.saved = _saved(args, selected, ordered)
    _tell(session, command, args, selected, ordered)
    return Answer(f"{command.name} completed")


async def found_by(session: ImapSession, command: Command, selected: Selected) -> list[int]:
    """Indexes of the messages that SEARCH, SORT or THREAD finds, ascending. Raises Refuse."""
    args = command.args
    assert isinstance(args, Search)
    if args.modseq:
        session.condstore_used()
    if args.refused is not None:
        raise Refuse(*args.refused)
    try:
        made = await _planned(session, args.key, selected)
        return await _matches(session, command, selected, made)
    except RecursionError:
        raise bad("The search program is nested too deeply") from None


async def _planned(session: ImapSession, key: Key, selected: Selected) -> Plan:
    """The plan; made in a thread when a thousand keys over so many messages would keep the loop."""
    looked = await looked_up(session, key, selected)
    now = session.node.clock()
    if len(selected) <= INLINE:
        return plan(key, selected, now, looked)
    return await asyncio.get_running_loop().run_in_executor(session.node.threads, plan, key, selected, now, looked)


async def _matches(session: ImapSession, command: Command, selected: Selected, made: Plan) -> list[int]:
    """Indexes of the messages that a plan finds, ascending."""
    candidates = indexes(made.mask, len(selected))
    if not made.predicates:
        return candidates
    tests = [predicate.test for predicate in made.predicates]
    found: list[int] = []
    at = 0
    told = asyncio.get_running_loop().time()
    while at < len(candidates):
        page: list[Wanted] = []
        octets = 0
        while at < len(candidates) and len(page) < _PAGE and octets < PAGE_OCTETS:
            index = candidates[at]
            page.append((index, selected.ids[index]))
            octets += selected.sizes[index]
            at += 1
        found += await session.store.scan(matching, page, tests)
        session.active()
        if (now := asyncio.get_running_loop().time()) - told >= PROGRESS:
            told = now
            code = f"INPROGRESS ({responses.string(command.tag).decode()} {at} {len(candidates)})"  # RFC 9585
            session.core.condition("OK", "Still searching", code)
            session.flush()
    return found


def _saved(args: Search, selected: Selected, found: Sequence[int]) -> SequenceSet:
    """What `$` stands for after this search (RFC 5182 section 2.4, the table of what MIN and MAX save; PARTIAL saves
    what it tells, RFC 9394 section 3.2)."""
    returns = args.returns or frozenset()
    if not found:
        return _NONE
    if returns & {"ALL", "COUNT"} or not returns & {"MIN", "MAX", "PARTIAL"}:
        uids = [selected.uids[at] for at in found]
    else:
        ends = {"MIN": found[0], "MAX": found[-1]}
        uids = [selected.uids[ends[end]] for end in ends if end in returns]
        if args.partial is not None:
            uids += [selected.uids[found[at]] for at in positions(args.partial, len(found))]
    return SequenceSet(tuple(compact(sorted(set(uids)))))


def _tell(session: ImapSession, command: Command, args: Search, selected: Selected, found: Sequence[int]) -> None:
    numbers = [selected.uids[at] for at in found] if command.uid else [at + 1 for at in found]
    returns = args.returns
    if returns is None and (args.sort or not session.rev2):
        modseq = max(selected.modseqs[at] for at in found) if args.modseq and found else None
        rendered = responses.sort if args.sort else responses.search
        session.core.untagged(rendered(numbers, modseq))
        return
    returns = returns or frozenset({"ALL"})  # RFC 9051 section 6.4.4: no untagged SEARCH any more
    if returns == {"SAVE"}:
        return  # RFC 5182 section 2.1: nothing is returned
    modseq = _highest(returns, selected, found) if args.modseq and found else None
    session.core.untagged(
        responses.esearch(
            command.tag, command.uid, numbers, returns, modseq, partial=args.partial, in_order=bool(args.sort)
        )
    )


def _highest(returns: frozenset[str], selected: Selected, found: Sequence[int]) -> int:
    """The mod-sequence that goes with a result: of MIN and MAX alone if only they are told (RFC 7162 3.1.10)."""
    if returns & {"ALL", "COUNT", "PARTIAL"} or not returns & {"MIN", "MAX"}:
        told = found
    else:
        told = [found[0]] * ("MIN" in returns) + [found[-1]] * ("MAX" in returns)
    return max(selected.modseqs[at] for at in told)
