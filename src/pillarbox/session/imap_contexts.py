"""Search results that are kept up to date (RFC 5267): UPDATE of SEARCH and SORT, ADDTO, REMOVEFROM, CANCELUPDATE.

A message can enter or leave a result only when its modification number grows or when it is expunged, so only those are
looked at again. What leaves is told before the EXPUNGE, what enters after the EXISTS: message numbers are right then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pillarbox.imap import responses, search
from pillarbox.imap.commands import CancelUpdate, Search
from pillarbox.imap.events import Command
from pillarbox.imap.search import And, Key, ModSeq
from pillarbox.session.imap_answers import Answer, Refuse
from pillarbox.session.imap_search_run import run
from pillarbox.session.imap_selected import Selected
from pillarbox.session.imap_sort import in_order

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

MOST = 20  # contexts of a session; each costs a look at every change


@dataclass(slots=True)
class Context:
    """A result as the client knows it: `uids` in its order; changes up to `modseq` are in it."""

    tag: bytes
    uid: bool
    args: Search
    uids: list[int]
    modseq: int
    added: list[int] = field(default_factory=list)  # to be told


def keep(session: ImapSession, command: Command, selected: Selected, found: Sequence[int]) -> None:
    """Keep a result up to date from now on, or say why not (RFC 5267 section 4.3.1)."""
    args = command.args
    assert isinstance(args, Search)
    contexts = selected.contexts
    if command.tag in contexts or len(contexts) >= MOST or not _can_be_kept(args):
        code = f"NOUPDATE {responses.string(command.tag).decode()}"
        session.core.condition("NO", "Changes of this result will not be told", code)
        return
    uids = [selected.uids[at] for at in found]
    selected.follow_new = selected.follow_new or bool(args.update_items)
    contexts[command.tag] = Context(command.tag, command.uid, args, uids, selected.highestmodseq)


def _can_be_kept(args: Search) -> bool:
    """Not what depends on the moment or on the numbers of other messages."""
    return all(map(_is_lasting, search.leaves(args.key))) and not any(one.name == "RELEVANCY" for one in args.sort)


def _is_lasting(key: Key) -> bool:
    if isinstance(key, search.Uids):
        return not (key.sequence.star or key.sequence.saved)
    return not isinstance(key, search.Numbers | search.Within | search.Fuzzy)


async def cancel(session: ImapSession, command: Command) -> Answer:
    """Answer CANCELUPDATE."""
    args, selected = command.args, session.selected
    assert isinstance(args, CancelUpdate)
    assert selected is not None
    if any(tag not in selected.contexts for tag in args.tags):
        raise Refuse("There is no such search")
    for tag in args.tags:
        selected.contexts.pop(tag, None)
    return Answer("CANCELUPDATE completed")


async def tell_removed(session: ImapSession, selected: Selected, *, expunge: bool) -> None:
    """Look what has changed in each result, and tell what is not in it any more. `expunge`: so will be EXPUNGE."""
    for context in selected.contexts.values():
        gone = {uid for uid in context.uids if selected.is_gone(uid)} if expunge else set()
        if context.modseq == selected.highestmodseq and not gone:
            continue
        since = context.modseq
        fresh = And((ModSeq(since + 1), context.args.key))
        matching = {
            selected.uids[at] for at in await run(session, context.tag, fresh, selected, context.args.comparator)
        }
        known = set(context.uids)
        changed = {uid for uid, modseq in zip(selected.uids, selected.modseqs, strict=True) if modseq > since}
        left = gone | {uid for uid in changed & known if uid not in matching and not selected.is_gone(uid)}
        context.modseq = selected.highestmodseq
        context.added = sorted(uid for uid in matching - known if not selected.is_gone(uid))
        if left:
            _tell(session, selected, context, b"REMOVEFROM", _removals(context, left))
            context.uids = [uid for uid in context.uids if uid not in left]


async def tell_added(session: ImapSession, selected: Selected) -> None:
    """Tell what has come into each result."""
    for context in selected.contexts.values():
        added, context.added = context.added, []
        added = [uid for uid in added if selected.index(uid) >= 0]
        if not added:
            continue
        indexes = sorted(selected.index(uid) for uid in {*context.uids, *added} if selected.index(uid) >= 0)
        if not context.args.sort:
            context.uids = [selected.uids[at] for at in indexes]
            _tell(session, selected, context, b"ADDTO", [(0, added)])
            continue
        order = await in_order(session, selected, context.args.sort, indexes, {}, context.args.comparator)
        context.uids = [selected.uids[at] for at in order]
        fresh = set(added)
        places = [(place, [uid]) for place, uid in enumerate(context.uids, 1) if uid in fresh]
        _tell(session, selected, context, b"ADDTO", places)


def _removals(context: Context, left: set[int]) -> list[tuple[int, list[int]]]:
    if not context.args.sort:
        return [(0, sorted(left))]
    # From the last to the first, so that no position shifts before it is told.
    return [(place, [uid]) for place, uid in reversed(list(enumerate(context.uids, 1))) if uid in left]


def _tell(
    session: ImapSession, selected: Selected, context: Context, what: bytes, places: Sequence[tuple[int, list[int]]]
) -> None:
    number: Callable[[int], int] = int if context.uid else lambda uid: selected.index(uid) + 1
    sets = ((place, responses.numbers_told(list(map(number, uids)), in_order=False)) for place, uids in places)
    told = b" ".join(b"%d %b" % one for one in sets)
    head = b"ESEARCH (TAG %b)%b" % (responses.string(context.tag), b" UID" * context.uid)
    session.core.untagged(b"%b %b (%b)" % (head, what, told))
