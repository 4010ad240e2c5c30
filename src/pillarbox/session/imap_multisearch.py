"""ESEARCH over several mailboxes (RFC 7377), and UIDBATCHES (RFC 10022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.imap import responses
from pillarbox.imap.commands import MultiSearch, Search, UidBatches
from pillarbox.imap.events import Command
from pillarbox.session import imap_search
from pillarbox.session.imap_answers import Answer, Refuse, bad
from pillarbox.session.imap_search_run import found_by, relevancy
from pillarbox.session.imap_selected import Selected
from pillarbox.store import Tx, mailboxes, messages, sharing
from pillarbox.store.errors import NotFound
from pillarbox.store.records import Mailbox

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

SMALLEST_BATCH = 500  # messages: smaller ones would tell message numbers again (RFC 10022 section 3.3)
MOST_BATCHES = 20_000  # ranges in one response


async def esearch(session: ImapSession, command: Command) -> Answer:
    """Answer the command ESEARCH: a response for each mailbox where something was found."""
    args = command.args
    assert isinstance(args, MultiSearch)
    selected = session.selected
    wanted = {one.kind for one in args.filters}
    here = not args.filters or bool(wanted & {"SELECTED", "SELECTED-DELAYED"})
    if here and selected is None:
        raise bad("No mailbox is selected")
    done: set[int] = set()
    if here and selected is not None:
        await _one(session, command.tag, args.search, selected, save=True)
        done.add(selected.mailbox_id)
    for box in await session.store.scan(_sources, session.user_id, args):
        if box.id in done:
            continue
        done.add(box.id)
        if selected is not None and box.id == selected.mailbox_id:
            view = selected  # as this session sees it
        else:
            try:
                opened = await session.store.scan(messages.open_view, box.id)
            except NotFound:
                continue  # deleted since
            view = Selected(opened, box.name, read_only=True, recent_from=opened.mailbox.first_recent_uid)
        await _one(session, command.tag, args.search, view, save=False)
        session.active()
        await session.drained()
    return Answer("ESEARCH completed")


def _sources(tx: Tx, user_id: int, args: MultiSearch) -> list[Mailbox]:
    boxes = {box.name: box for box in mailboxes.list_mailboxes(tx, user_id)}
    everything = boxes | {seen.box.name: seen.box for seen in sharing.shared(tx, user_id) if seen.may("r")}
    subscribed = frozenset(mailboxes.subscriptions(tx, user_id))
    found = []
    for one in args.filters:
        own = one.kind in ("PERSONAL", "INBOXES")
        found += [everything[name] for name in one.chosen(boxes if own else everything, subscribed)]
    return found


async def _one(session: ImapSession, tag: bytes, search: Search, view: Selected, *, save: bool) -> None:
    found = await found_by(session, tag, search, view)
    returns = search.returns or frozenset({"ALL"})
    if save and "SAVE" in returns:
        view.saved = imap_search.saved(search, view, found)
    if returns == {"SAVE"} or not found:
        return  # nothing is said of a mailbox where nothing was found
    scores = await relevancy(session, tag, search, view, found) if "RELEVANCY" in returns else {}
    name = responses.mailbox(view.name, session.utf8)
    source = b" MAILBOX %b UIDVALIDITY %d" % (name, view.uidvalidity)
    imap_search.tell_esearch(session, tag, True, search, view, found, scores, source)


async def uid_batches(session: ImapSession, command: Command) -> Answer:
    """Answer UIDBATCHES: ranges of UIDs, the highest first, each with so many messages; the last one has the rest and
    ends at UID 1, which says that it is the last (RFC 10022 section 3.1.4)."""
    args, selected = command.args, session.selected
    assert isinstance(args, UidBatches)
    assert selected is not None
    uids, size = selected.uids, args.size
    if size < SMALLEST_BATCH:
        raise Refuse(f"A batch has at least {SMALLEST_BATCH} messages", "TOOFEW")
    count = -(-len(uids) // size)
    first, last = args.batches or (1, count)
    if args.batches and first > last:
        raise Refuse("The lower batch comes first, RFC 10022 section 3.1.5", "CLIENTBUG", status="BAD")
    last = min(last, count)
    if last - first >= MOST_BATCHES:
        raise Refuse(f"At most {MOST_BATCHES} batches at a time: ask for larger ones", "TOOMANY")
    ranges = []
    for batch in range(first, last + 1):
        high = len(uids) - 1 - (batch - 1) * size
        low = 1 if batch == count else uids[high - size + 1]
        ranges.append(b"%d:%d" % (uids[high], low))
    response = b"UIDBATCHES (TAG %b)" % responses.string(command.tag)
    session.core.untagged(response + b" " * bool(ranges) + b",".join(ranges))
    return Answer("UIDBATCHES completed")
