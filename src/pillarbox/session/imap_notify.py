"""NOTIFY (RFC 5465): news of mailboxes are told unasked, of all that were named, in IDLE and outside of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from pillarbox.imap import metadata_grammar, responses
from pillarbox.imap.commands import Notify
from pillarbox.imap.events import Command
from pillarbox.imap.fetch import FetchItem, Item
from pillarbox.imap.sequence import compact
from pillarbox.session import imap_fetch
from pillarbox.session.imap_answers import Answer, Refuse
from pillarbox.session.imap_notify_following import Following, TooMuch
from pillarbox.session.imap_notify_interest import Event, Interest
from pillarbox.session.imap_notify_untold import Named, Renamed, Waiting, after_renames
from pillarbox.session.imap_selected import Selected
from pillarbox.store.errors import StoreError
from pillarbox.store.folders import Folder
from pillarbox.store.mailbox_names import DELIMITER, parents

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_LINES = 512  # responses between two looks at the transport

Items = list[tuple[str, int | str]]


async def notify(session: ImapSession, command: Command) -> Answer:
    """Answer NOTIFY: what was set before is replaced, unless this one cannot be."""
    args = command.args
    assert isinstance(args, Notify)
    made = _following(session, Interest(args.groups))
    try:
        await made.begin()
        await session.look(thaw=True)  # the command is a NOOP too, section 3.1
        await session.tell(expunge=True)
    except TooMuch:
        made.end()
        raise Refuse("Too many mailboxes to follow: ask for fewer", "NOTIFICATIONOVERFLOW") from None
    except BaseException:
        made.end()
        raise
    before, session.notify = session.notify, made
    if before is not None:
        before.end()
    tune(session)
    await _introduce(session, made, status=args.status)
    return Answer("NOTIFY completed")


def _following(session: ImapSession, interest: Interest) -> Following:
    return Following(session.user_id, interest, session.node.store, session.node.accounts, session.wake)


def tune(session: ImapSession) -> None:
    """Let the view of the selected mailbox note what NOTIFY wants to be told of it."""
    selected, following = session.selected, session.notify
    if selected is None:
        return
    items = any(context.args.update_items for context in selected.contexts.values())
    if following is not None:
        wanted = following.interest.selected
        selected.follow_flags = not wanted or bool(wanted & Event.FLAGS)
        selected.annotations_told = bool(wanted & Event.ANNOTATIONS)
        items = items or bool(following.interest.items)
    selected.follow_new = items


async def _introduce(session: ImapSession, following: Following, *, status: bool) -> None:
    """Which of the mailboxes cannot be followed, and with STATUS how the others are (section 3.1)."""
    lines = 0
    for owner_id, folder, name, wanted in list(following.followed()):
        rights = following.rights(owner_id, folder.id)
        if "l" not in rights:
            continue
        if "r" not in rights:
            session.core.untagged(responses.listing(["\\NoAccess"], name, utf8=session.utf8))
        elif status and wanted & Event.MESSAGES and not _is_selected(session, folder.id):
            inside = bool(wanted & (Event.FLAGS | Event.ANNOTATIONS))
            items = _status(folder, new=True, flags=inside, modseq=inside)
            session.core.untagged(responses.status(name, items, session.utf8))
        lines += 1
        if lines % _LINES == 0:
            await session.drained()


# What is told unasked.


async def push(session: ImapSession, following: Following) -> None:
    """Tell what waits. Raises StoreError: then it goes on waiting."""
    if following.overflown:
        _overflow(session)
        return
    if following.doubtful:
        try:
            await following.review()
            following.limit()
        except TooMuch:
            following.overflow()
        if following.overflown:
            _overflow(session)
            return
    untold = following.take()
    above = _visible_parents(following) if untold.names or untold.renamed else frozenset[str]()
    lines = _renamed_lines(session, following, untold.renamed, untold.names, above)
    lines += _named_lines(session, following, untold.names, above)
    lines += _entry_lines(session, following, untold.entries)
    for count, line in enumerate(chain(lines, _message_lines(session, following, untold.messages)), 1):
        session.core.untagged(line)
        if count % _LINES == 0:
            await session.drained()
            await asyncio.sleep(0)  # others' turn


def _overflow(session: ImapSession) -> None:
    """As if NOTIFY NONE had come (section 5.8)."""
    session.notify = _following(session, Interest())
    tune(session)
    session.core.condition("OK", "Too much has happened: NOTIFY is off", "NOTIFICATIONOVERFLOW")


def _renamed_lines(
    session: ImapSession,
    following: Following,
    renames: list[Renamed],
    names: dict[tuple[int, str], Named],
    above: frozenset[str],
) -> list[bytes]:
    """LIST responses with OLDNAME (section 5.4), of mailboxes of somebody else if they may be seen.

    A name that a mailbox had for a while is told with what is true of the mailbox now.
    """
    lines = []
    for at, one in enumerate(renames, 1):
        owner_id, new = one.owner_id, one.new
        if following.own.cover(owner_id, one.since, one.until):
            continue
        now = after_renames(owner_id, new, renames[at:])
        if owner_id != following.user_id and _find(following, now) is None:
            continue
        named = names.pop((owner_id, new), None) if now == new else None  # all is said of it with this
        lost = named is not None and named.lost
        lines.append(_listing(session, following, now, above, lost=lost, told_as=new, old=one.old))
    return lines


def _named_lines(
    session: ImapSession, following: Following, names: dict[tuple[int, str], Named], above: frozenset[str]
) -> list[bytes]:
    """LIST responses (sections 5.4, 5.5, 5.9). With what was made or is gone goes the name above it."""
    told: dict[str, bytes] = {}
    for (owner_id, name), named in names.items():
        if following.own.cover(owner_id, named.since, named.until):
            continue
        visible = _find(following, name) is not None
        if not (visible or named.known or named.lost):
            continue  # of somebody else, and hidden
        told[name] = _listing(session, following, name, above, lost=named.lost)
        parent = name.rpartition(DELIMITER)[0]
        if (named.made or named.ended) and parent and parent not in told:
            wanted = following.interest.events(parent, following.mine.subscribed, own=owner_id == following.user_id)
            if wanted & Event.NAME:
                told[parent] = _listing(session, following, parent, above)
    return list(told.values())


def _listing(
    session: ImapSession,
    following: Following,
    name: str,
    above: frozenset[str],
    *,
    lost: bool = False,
    told_as: str | None = None,
    old: str | None = None,
) -> bytes:
    found = _find(following, name)
    words = [] if found is not None else ["\\NonExistent"]
    if lost or (found is not None and "r" not in following.rights(found[0], found[1].id)):
        words.append("\\NoAccess")
    if name in above or following.mine.has_children(name):
        words.append("\\HasChildren")
    elif found is not None:
        words.append("\\HasNoChildren")
    if found is not None and found[0] == following.user_id and found[1].special_use:
        words += found[1].special_use.split()
    if name in following.mine.subscribed:
        words.append("\\Subscribed")
    return responses.listing(words, told_as or name, utf8=session.utf8, old_name=old)


def _find(following: Following, name: str) -> tuple[int, Folder] | None:
    """Owner and mailbox of a name, if the account may see it."""
    for owner_id, access in following.access.items():
        if name.startswith(access.prefix):
            folder = following.views[owner_id].names.get(name[len(access.prefix) :])
            return (owner_id, folder) if folder is not None and "l" in access.to(folder.id) else None
    folder = following.mine.names.get(name)
    return (following.user_id, folder) if folder is not None else None


def _visible_parents(following: Following) -> frozenset[str]:
    """Names above mailboxes of others that may be seen."""
    return frozenset(
        parent
        for owner_id, access in following.access.items()
        for folder in following.views[owner_id].folders.values()
        if "l" in access.to(folder.id)
        for parent in parents(access.prefix + folder.name)
    )


def _entry_lines(
    session: ImapSession, following: Following, entries: dict[tuple[int, int], dict[str, int]]
) -> list[bytes]:
    """METADATA responses with the names of entries only (sections 5.6, 5.7, RFC 5464 section 4.4.2)."""
    lines = []
    for (owner_id, mailbox_id), numbers in entries.items():
        names = [entry for entry, number in numbers.items() if not following.own.cover(owner_id, number - 1, number)]
        name = ""
        if mailbox_id:
            folder = _readable(following, owner_id, mailbox_id)
            if folder is None:
                continue
            name = following.name_of(owner_id, folder)
        if names:
            lines.append(metadata_grammar.changed(name, names, session.utf8))
    return lines


def _message_lines(
    session: ImapSession, following: Following, messages: dict[tuple[int, int], Waiting]
) -> Iterator[bytes]:
    """STATUS responses (sections 5.1 to 5.3)."""
    for (owner_id, mailbox_id), waiting in messages.items():
        folder = _readable(following, owner_id, mailbox_id)
        if folder is None or _is_selected(session, mailbox_id):
            continue
        if following.own.cover(owner_id, waiting.since, waiting.until):
            continue
        flags = waiting.flags and (session.condstore or waiting.unseen != folder.unseen)
        if waiting.new or flags:
            items = _status(folder, new=waiting.new, flags=flags, modseq=session.condstore)
            yield responses.status(following.name_of(owner_id, folder), items, session.utf8)


def _status(folder: Folder, *, new: bool, flags: bool, modseq: bool) -> Items:
    items: Items = []
    if new:
        items += [("MESSAGES", folder.messages), ("UIDNEXT", folder.uidnext)]
    items.append(("UIDVALIDITY", folder.uidvalidity))
    if flags:
        items.append(("UNSEEN", folder.unseen))
    if modseq:
        items.append(("HIGHESTMODSEQ", folder.highestmodseq))
    return items


def _readable(following: Following, owner_id: int, mailbox_id: int) -> Folder | None:
    view = following.views.get(owner_id)
    if view is None or not {"l", "r"} <= set(following.rights(owner_id, mailbox_id)):
        return None
    return view.folders.get(mailbox_id)


def _is_selected(session: ImapSession, mailbox_id: int) -> bool:
    return session.selected is not None and session.selected.mailbox_id == mailbox_id


# New messages of the selected mailbox.


async def fetch_new(session: ImapSession, selected: Selected, uids: Iterable[int]) -> None:
    """Send what NOTIFY and the contexts of searches want of new messages that others put there (sections 5.2, 7).

    One FETCH response each, after the EXISTS and before ESEARCH responses.
    """
    following = session.notify
    wanted: dict[tuple[FetchItem, ...], list[int]] = {}
    for uid in uids:
        at = selected.index(uid)
        if at < 0 or (following is not None and _is_own(following, selected, at)):
            continue
        items = dict.fromkeys(following.interest.items if following is not None else ())
        for context in selected.contexts.values():
            if uid in context.added:
                items.update(dict.fromkeys(context.args.update_items))
        if items:
            wanted.setdefault(_completed(session, tuple(items)), []).append(at)
    for chosen, indexes in wanted.items():
        picks = [range(low, high + 1) for low, high in compact(indexes)]
        try:
            await imap_fetch.send(session, selected, chosen, picks, marks=False)
        except StoreError:
            return  # the client has the EXISTS and can ask


def _completed(session: ImapSession, items: tuple[FetchItem, ...]) -> tuple[FetchItem, ...]:
    """RFC 7162 section 3.2.4: UID in what nobody asked for, and MODSEQ beside flags."""
    found = dict.fromkeys(items)
    if session.qresync and not session.uid_only:
        found = {Item.UID: None, **found}
    if session.condstore and Item.FLAGS in found:
        found[Item.MODSEQ] = None
    return tuple(found)


def _is_own(following: Following, selected: Selected, at: int) -> bool:
    modseq = selected.modseqs[at]
    return following.own.cover(selected.owner_id, modseq - 1, modseq)
