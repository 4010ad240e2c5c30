"""THREAD and UID THREAD: what a search found, made into threads in a reader thread (RFC 5256)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pillarbox.imap import thread as threading
from pillarbox.imap.commands import Search
from pillarbox.imap.comparator import DEFAULT, Comparator
from pillarbox.imap.events import Command
from pillarbox.mime.subject import is_reply
from pillarbox.session.imap_answers import Answer
from pillarbox.session.imap_search_run import found_by
from pillarbox.session.imap_sort import picked
from pillarbox.store import Tx
from pillarbox.store.search_facts import facts

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_COLUMNS = ("sent_at", "subject", "base_subject", "message_id", "in_reply_to", "refs")


async def thread(session: ImapSession, command: Command) -> Answer:
    """Answer THREAD and UID THREAD."""
    args, selected = command.args, session.selected
    assert isinstance(args, Search)
    assert selected is not None
    found = await found_by(session, command.tag, args, selected)
    numbers = [selected.uids[at] for at in found] if command.uid else [at + 1 for at in found]
    ids, dates = picked(selected, found)
    session.core.untagged(await session.store.scan(threads, args.thread, ids, dates, numbers, args.comparator))
    return Answer("THREAD completed")


def threads(
    tx: Tx,
    algorithm: str,
    ids: Sequence[int],
    dates: Sequence[int],
    numbers: Sequence[int],
    comparator: Comparator = DEFAULT,
) -> bytes:
    """The THREAD response for messages of these row ids, internal dates, and numbers to be told."""
    messages = []
    for at, row in enumerate(facts(tx, ids, _COLUMNS)):
        if row is None:
            messages.append(threading.Threadable(numbers[at], dates[at]))
            continue
        sent, subject, base, message_id, in_reply_to, references = row
        named = tuple(references.split()) or tuple(in_reply_to.split()[:1])
        sent = dates[at] if sent is None else sent
        messages.append(threading.Threadable(numbers[at], sent, base, is_reply(subject), message_id, named))
    make = threading.ordered_subject if algorithm == "ORDEREDSUBJECT" else threading.by_references
    return threading.render(make(messages, comparator.key))
