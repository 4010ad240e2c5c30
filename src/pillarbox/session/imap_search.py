"""SEARCH and SORT: what was found, as the client wants it told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pillarbox.imap import responses
from pillarbox.imap.commands import Comparators, Search
from pillarbox.imap.comparator import choose
from pillarbox.imap.events import Command
from pillarbox.imap.partial import positions
from pillarbox.imap.sequence import SequenceSet, compact
from pillarbox.session import imap_contexts
from pillarbox.session.imap_answers import Answer, Refuse
from pillarbox.session.imap_search_run import found_by, relevancy
from pillarbox.session.imap_selected import Selected
from pillarbox.session.imap_sort import in_order
from pillarbox.store.errors import StoreError

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_NONE = SequenceSet(())


async def search(session: ImapSession, command: Command) -> Answer:
    """Answer SEARCH or SORT with their own response or `ESEARCH`, and keep the result when SAVE asks for it."""
    args, selected = command.args, session.selected
    assert isinstance(args, Search)
    assert selected is not None
    save = args.returns is not None and "SAVE" in args.returns
    try:
        found = await found_by(session, command.tag, args, selected)
        scores: dict[int, int] = {}
        if "RELEVANCY" in (args.returns or ()) or any(one.name == "RELEVANCY" for one in args.sort):
            scores = await relevancy(session, command.tag, args, selected, found)
        ordered = found
        if args.sort:
            ordered = await in_order(session, selected, args.sort, found, scores, args.comparator)
    except (Refuse, StoreError):
        if save:
            selected.saved = _NONE  # a search that ended in NO leaves an empty result, RFC 5182 section 2.1
        raise
    if save:
        selected.saved = saved(args, selected, ordered)
    _tell(session, command, args, selected, ordered, scores)
    if args.update:
        imap_contexts.keep(session, command, selected, ordered)
    return Answer(f"{command.name} completed")


async def comparator(session: ImapSession, command: Command) -> Answer:
    """Answer COMPARATOR (RFC 5255 section 4.7): tell the active comparator, or make another one active."""
    args = command.args
    assert isinstance(args, Comparators)
    matching: tuple[str, ...] = ()
    if args.orders:
        found = choose(args.orders)
        if found is None:
            raise Refuse("There is no such comparator", "BADCOMPARATOR")
        session.comparator, matching = found
    session.core.untagged(responses.comparator(session.comparator.selected, matching))
    return Answer("COMPARATOR completed")


def saved(args: Search, selected: Selected, found: Sequence[int]) -> SequenceSet:
    """What `$` stands for after this search (RFC 5182 section 2.4, the table of what MIN and MAX save; PARTIAL saves
    what it tells, RFC 9394 section 3.2)."""
    returns = args.returns or frozenset()
    if not found:
        return _NONE
    if returns & {"ALL", "COUNT", "RELEVANCY"} or not returns & {"MIN", "MAX", "PARTIAL"}:
        uids = [selected.uids[at] for at in found]
    else:
        ends = {"MIN": found[0], "MAX": found[-1]}
        uids = [selected.uids[ends[end]] for end in ends if end in returns]
        if args.partial is not None:
            uids += [selected.uids[found[at]] for at in positions(args.partial, len(found))]
    return SequenceSet(tuple(compact(sorted(set(uids)))))


def _tell(
    session: ImapSession,
    command: Command,
    args: Search,
    selected: Selected,
    found: Sequence[int],
    scores: Mapping[int, int],
) -> None:
    returns = args.returns
    if returns is None and (args.sort or not session.rev2):
        numbers = [selected.uids[at] for at in found] if command.uid else [at + 1 for at in found]
        modseq = max(selected.modseqs[at] for at in found) if args.modseq and found else None
        rendered = responses.sort if args.sort else responses.search
        session.core.untagged(rendered(numbers, modseq))
        return
    returns = returns or frozenset({"ALL"})  # RFC 9051 section 6.4.4: no untagged SEARCH any more
    if returns == {"SAVE"}:
        return  # RFC 5182 section 2.1: nothing is returned
    tell_esearch(session, command.tag, command.uid, args, selected, found, scores)


def tell_esearch(
    session: ImapSession,
    tag: bytes,
    uid: bool,
    args: Search,
    selected: Selected,
    found: Sequence[int],
    scores: Mapping[int, int],
    source: bytes = b"",
) -> None:
    """The ESEARCH response for indexes that were found, in their order; `source` says where (RFC 7377)."""
    returns = args.returns or frozenset({"ALL"})
    numbers = [selected.uids[at] for at in found] if uid else [at + 1 for at in found]
    modseq = _highest(returns, selected, found) if args.modseq and found else None
    told = found if args.partial is None else [found[at] for at in positions(args.partial, len(found))]
    session.core.untagged(
        responses.esearch(
            tag,
            uid,
            numbers,
            returns,
            modseq,
            partial=args.partial,
            in_order=bool(args.sort),
            source=source,
            relevancy=[scores.get(at, 100) for at in told],
        )
    )


def _highest(returns: frozenset[str], selected: Selected, found: Sequence[int]) -> int:
    """The mod-sequence that goes with a result: of MIN and MAX alone if only they are told (RFC 7162 3.1.10)."""
    if returns & {"ALL", "COUNT", "PARTIAL"} or not returns & {"MIN", "MAX"}:
        told = found
    else:
        told = [found[0]] * ("MIN" in returns) + [found[-1]] * ("MAX" in returns)
    return max(selected.modseqs[at] for at in told)
