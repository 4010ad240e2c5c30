"""Pulling an account from an IMAP server: all of it once, then what changed, as often as wanted until the cut-over.

For each folder the server's UIDs, flags and sizes are compared with the record; new messages are fetched in groups and
stored with their record in one transaction, so a broken run goes on where it was. At the end of a folder counts and
octets of both sides are compared.

UIDs and UIDVALIDITY are kept where the mailbox here is new: clients then keep their caches across the cut-over. As soon
as the two sides have given one UID to different messages, the mailbox gets a new UIDVALIDITY.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from pillarbox.imap import dates
from pillarbox.imap.client import Untagged
from pillarbox.imap.flags import BITS, canonical_keyword
from pillarbox.imap.response_parser import Value
from pillarbox.imap.sequence import render_numbers
from pillarbox.store import imports, mailboxes
from pillarbox.store.flags import join_keywords
from pillarbox.store.imports import Attached, Incoming, Known
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx
from pillarbox.transfer.found import LARGEST, TOO_LARGE
from pillarbox.transfer.imap_connection import ImapConnection, Refused
from pillarbox.transfer.imap_folders import Folder, list_folders, quoted, target_of
from pillarbox.transfer.intake import FolderCount, Report, place, prepare

T = TypeVar("T")

GROUP = 200  # messages of one FETCH
GROUP_OCTETS = 8 << 20

Progress = Callable[[int, int], None]  # messages looked at, messages stored


class There(msgspec.Struct, frozen=True, gc=False):
    """A message as the server lists it."""

    uid: int
    size: int
    flags: int
    keywords: tuple[str, ...]


class Wishes(msgspec.Struct, frozen=True):
    """`names`: only these folders (as here, with `/`); `follow_expunges`: what is gone there goes here."""

    into: str = ""
    names: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    follow_expunges: bool = False


async def pull(
    connection: ImapConnection,
    store: Store,
    user_id: int,
    source: str,
    wishes: Wishes,
    progress: Progress | None,
    report: Report,
) -> None:
    """One pass over all folders; `report` says how far it came, also when it breaks off.

    Raises Lost (begin again: it goes on), Refused, StoreError.
    """
    boxes = await store.scan(mailboxes.list_mailboxes, user_id)
    uses = {box.special_use: box.name for box in boxes if box.special_use}
    folders = await list_folders(connection)
    looked = stored = 0
    for folder in folders:
        if (wishes.names and folder.name not in wishes.names) or folder.name in wishes.excluded:
            continue
        target = target_of(folder, wishes.into, uses)
        try:
            puller = await _Puller.open(connection, store, user_id, source, folder, target)
        except Refused as error:
            report.unreadable.append((folder.name, str(error)))
            continue

        def show(count: int, base: int = looked, before: int = stored, of: _Puller = puller) -> None:
            if progress is not None:
                progress(base + count, before + of.count.stored)

        report.folders[puller.attached.mailbox] = puller.count
        await puller.run(report, wishes, show)
        looked += puller.count.found
        stored += puller.count.stored
        if folder.subscribed:
            await store.write(mailboxes.subscribe, user_id, puller.attached.mailbox)
    if missing := set(wishes.names) - {folder.name for folder in folders}:
        report.unreadable += [(name, "there is no such folder") for name in sorted(missing)]


class _Puller:
    """One folder in one pass."""

    def __init__(self, connection: ImapConnection, store: Store, attached: Attached, numbers: tuple[int, int]) -> None:
        self._connection = connection
        self._store = store
        self.attached = attached
        self._uidvalidity, self._uidnext = numbers
        self._keeps = False
        self.count = FolderCount(attached.mailbox)

    @classmethod
    async def open(
        cls, connection: ImapConnection, store: Store, user_id: int, source: str, folder: Folder, target: str
    ) -> _Puller:
        """Look at the folder there, find or make the mailbox here, and settle whether UIDs are kept."""
        responses = await connection.command("EXAMINE", quoted(folder.raw))
        numbers = _code(responses, "UIDVALIDITY"), _code(responses, "UIDNEXT")
        attached = await store.write(imports.attach, user_id, source, folder.name, target)
        puller = cls(connection, store, attached, numbers)
        puller._keeps = await store.write(puller._settle_uids)
        puller.count.uids_kept = puller._keeps
        return puller

    def _settle_uids(self, tx: Tx) -> bool:
        attached = self.attached
        if not attached.uidvalidity:
            # At once, for a pass that breaks off before its end.
            imports.finish(tx, attached, self._uidvalidity, 0, keep_uids=False)
            return attached.fresh and imports.adopt(tx, attached, self._uidvalidity)
        box = mailboxes.get(tx, attached.mailbox_id)
        same = attached.uidvalidity == self._uidvalidity
        if not same:
            imports.forget_uids(tx, attached.id)
        # Both sides gave UIDs since the last pass: one of them may stand for two messages.
        both = box.uidnext > attached.uidnext and self._uidnext > attached.uidnext > 0
        if attached.keeps_uids and (both or not same):
            imports.abandon_uids(tx, attached)
        return attached.keeps_uids and same and not both

    async def run(self, report: Report, wishes: Wishes, show: Callable[[int], None]) -> None:
        there = await self._listing()
        known = {one.source_uid: one for one in await self._store.scan(imports.known, self.attached.id)}
        self.count.found = len(there)
        await self._follow(there, known, wishes, report)
        new = [one for uid, one in sorted(there.items()) if uid not in known]
        self.count.known = len(there) - len(new)
        show(self.count.known)
        if new:
            await self._fetch_all(new, report, show)
        await self._store.write(imports.finish, self.attached, self._uidvalidity, self._uidnext, keep_uids=self._keeps)
        await self._verify(there, report)

    async def _listing(self) -> dict[int, There]:
        found: dict[int, There] = {}

        def each(one: Untagged) -> None:
            if one.name == "FETCH" and (values := _items(one)) is not None:
                uid, size = values.get(b"UID"), values.get(b"RFC822.SIZE")
                if isinstance(uid, int) and isinstance(size, int):
                    found[uid] = There(uid, size, *_flags(values.get(b"FLAGS")))

        await self._connection.command("UID FETCH", b"1:* (UID FLAGS RFC822.SIZE)", each=each)
        return found

    async def _follow(self, there: dict[int, There], known: dict[int, Known], wishes: Wishes, report: Report) -> None:
        changed = [
            (one, now.flags, now.keywords)
            for uid, one in known.items()
            if (now := there.get(uid)) is not None
            and (now.flags, join_keywords(now.keywords)) != (one.flags, one.keywords)
        ]
        for some in _pages(changed, 1000):
            report.flags_changed += await self._store.write(imports.follow_flags, self.attached, some)
        gone = [one for uid, one in known.items() if uid not in there]
        if gone and wishes.follow_expunges:
            for few in _pages(gone, 1000):
                report.removed += await self._store.write(imports.follow_expunges, self.attached, few)

    async def _fetch_all(self, new: Sequence[There], report: Report, show: Callable[[int], None]) -> None:
        digests = await self._store.scan(imports.digests, self.attached.id)
        unclaimed = await self._store.scan(imports.unclaimed, self.attached.id)
        done = self.count.known
        for group in _groups(new):
            if group[0].size > LARGEST:
                report.unreadable.append((f"{self.attached.mailbox}, UID {group[0].uid}", TOO_LARGE))
                continue
            incoming = await self._fetch(group, digests, unclaimed)
            size = sum(len(one.message.packed) for one in incoming if one.message.packed is not None)
            uids = await self._store.write(imports.take, self.attached, incoming, size=size)
            for one, uid in zip(incoming, uids, strict=True):
                if uid:
                    self.count.stored += 1
                    self.count.octets += one.message.analysis.size
                else:
                    self.count.known += 1
                if self._keeps and one.uid is not None and uid not in (0, one.uid):
                    self._keeps = self.count.uids_kept = False
            done += len(group)
            show(done)

    async def _fetch(self, group: Sequence[There], digests: set[str], unclaimed: set[str]) -> list[Incoming]:
        listed = {one.uid: one for one in group}
        fetched: dict[int, tuple[bytes, int | None]] = {}

        def each(one: Untagged) -> None:
            if one.name == "FETCH" and (values := _items(one)) is not None:
                uid, data, date = values.get(b"UID"), values.get(b"BODY[]"), values.get(b"INTERNALDATE")
                if isinstance(uid, int) and uid in listed and isinstance(data, bytes):
                    moment = dates.parse_date_time(date) if isinstance(date, bytes) else None
                    fetched[uid] = data, moment

        uids = render_numbers(sorted(listed))
        await self._connection.command("UID FETCH", uids + b" (UID INTERNALDATE BODY.PEEK[])", each=each)
        incoming = []
        for uid, (data, moment) in sorted(fetched.items()):
            piece = await asyncio.to_thread(prepare, data)
            key = _key(piece.digest, digests, unclaimed)
            message = await place(self._store, piece)
            one = listed[uid]
            wanted = uid if self._keeps else None
            incoming.append(Incoming(key, message, one.flags, one.keywords, moment, uid, wanted))
        return incoming

    async def _verify(self, there: dict[int, There], report: Report) -> None:
        """Every message that the server listed is in the record, and here, with as many octets."""
        known = {one.source_uid: one for one in await self._store.scan(imports.known, self.attached.id)}
        missing = sorted(uid for uid in there if uid not in known)
        sizes: dict[int, int] = {}
        for some in _pages([known[uid].uid for uid in there if uid in known], 1000):
            sizes |= await self._store.scan(imports.present, self.attached, some)
        removed = wrong = 0
        for uid, one in there.items():
            if (mine := known.get(uid)) is None:
                continue
            if mine.uid not in sizes:
                removed += 1
            elif sizes[mine.uid] != one.size:
                wrong += 1
        name = self.attached.mailbox
        if missing:
            report.problems.append(f"{name}: {len(missing)} messages did not come, the first is UID {missing[0]}")
        if removed:
            report.problems.append(f"{name}: {removed} messages were removed here since they came")
        if wrong:
            report.problems.append(f"{name}: {wrong} messages have other sizes than the server says")


def _key(digest: str, digests: set[str], unclaimed: set[str]) -> str:
    """The key in the record: one without a UID there first, else a new one."""
    number, key = 1, digest
    while key in digests and key not in unclaimed:
        number += 1
        key = f"{digest}:{number}"
    unclaimed.discard(key)
    digests.add(key)
    return key


def _groups(new: Iterable[There]) -> Iterator[list[There]]:
    group: list[There] = []
    octets = 0
    for one in new:
        if group and (len(group) >= GROUP or octets + one.size > GROUP_OCTETS):
            yield group
            group, octets = [], 0
        group.append(one)
        octets += one.size
    if group:
        yield group


def _pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _code(responses: Sequence[Untagged], name: str) -> int:
    """The number of a response code such as UIDNEXT; 0 without it."""
    for one in responses:
        word, _, number = (one.status.code if one.status else "").partition(" ")
        if word.upper() == name and number.isdigit():
            return int(number)
    return 0


def _items(one: Untagged) -> dict[bytes, Value] | None:
    if not one.values or not isinstance(one.values[0], list):
        return None
    items = one.values[0]
    return {
        name.upper(): value for name, value in zip(items[::2], items[1::2], strict=False) if isinstance(name, bytes)
    }


def _flags(value: Value | None) -> tuple[int, tuple[str, ...]]:
    bits, words = 0, []
    for flag in value if isinstance(value, list) else []:
        text = flag.decode("ascii", "replace") if isinstance(flag, bytes) else str(flag)
        if text.startswith("\\"):
            bits |= BITS.get(text.lower(), 0)
        elif (word := canonical_keyword(text)) is not None:
            words.append(word)
    return bits, tuple(words)
