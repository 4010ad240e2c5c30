"""Carrying out a search program over one mailbox: the index, columns, summaries, then the stored bytes in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pillarbox.imap import fuzzy, responses
from pillarbox.imap.commands import Search
from pillarbox.imap.comparator import DEFAULT, Comparator
from pillarbox.imap.search import Key
from pillarbox.session import imap_annotations, imap_search_fields, imap_search_index
from pillarbox.session.imap_answers import Refuse, bad
from pillarbox.session.imap_filters import put_in
from pillarbox.session.imap_search_plan import Asked, Looked, Plan, indexes, plan, work
from pillarbox.session.imap_search_text import Wanted, matching
from pillarbox.session.imap_selected import Selected

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

INLINE = 50_000  # values of columns that are looked through on the loop: a few milliseconds
PROGRESS = 10.0  # seconds between two words of how far a search is
_PAGE = 200  # messages that one visit to a reader thread looks at
PAGE_OCTETS = 4 << 20  # octets of them: what was computed of a message may be as large as the message itself


async def found_by(session: ImapSession, tag: bytes, args: Search, selected: Selected) -> list[int]:
    """Indexes of the messages that SEARCH, SORT or THREAD finds, ascending. Raises Refuse."""
    args.comparator = session.comparator
    if args.filters:
        await put_in(session, args)
    if args.modseq:
        session.condstore_used()
    if args.refused is not None:
        raise Refuse(*args.refused)
    key = fuzzy.plain(args.key, fuzzy.LEVELS[-1]) if fuzzy.is_fuzzy(args.key) else args.key
    return await run(session, tag, key, selected, args.comparator)


async def relevancy(
    session: ImapSession, tag: bytes, args: Search, selected: Selected, found: list[int]
) -> dict[int, int]:
    """For each index that was found how well it fits, 1 to 100 (RFC 6203 section 4)."""
    scores = dict.fromkeys(found, fuzzy.LEVELS[-1] if fuzzy.is_fuzzy(args.key) else fuzzy.LEVELS[0])
    if fuzzy.is_fuzzy(args.key):
        for level in fuzzy.LEVELS[-2::-1]:
            for at in await run(session, tag, fuzzy.plain(args.key, level), selected, args.comparator):
                if at in scores:
                    scores[at] = level
    return scores


async def run(
    session: ImapSession, tag: bytes, key: Key, selected: Selected, comparator: Comparator = DEFAULT
) -> list[int]:
    """Indexes of the messages for which a key holds, ascending. `tag` is told how far it is. Raises Refuse."""
    try:
        looked: dict[Asked, Looked] = {}
        if comparator.words:
            looked.update(await imap_search_index.looked_up(session, key, selected))
        looked.update(await imap_annotations.looked_up(session, key, selected, comparator))
        made = await _planned(session, key, selected, looked, comparator)
        if made.predicates:  # then summaries are asked about the messages that the columns leave over
            told = await imap_search_fields.looked_up(session, key, selected, made.mask, comparator)
            if told:
                made = await _planned(session, key, selected, looked | told, comparator)
        return await _matches(session, tag, selected, made)
    except RecursionError:
        raise bad("The search program is nested too deeply") from None


async def _planned(
    session: ImapSession, key: Key, selected: Selected, looked: Mapping[Asked, Looked], comparator: Comparator
) -> Plan:
    """The plan; made in a thread when a thousand keys over so many messages would keep the loop."""
    asked = key, selected, session.node.clock(), looked, comparator
    if work(key, len(selected)) <= INLINE:
        return plan(*asked)
    return await asyncio.get_running_loop().run_in_executor(session.node.threads, plan, *asked)


async def _matches(session: ImapSession, tag: bytes, selected: Selected, made: Plan) -> list[int]:
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
            code = f"INPROGRESS ({responses.string(tag).decode()} {at} {len(candidates)})"  # RFC 9585
            session.core.condition("OK", "Still searching", code)
            session.flush()
    return found
