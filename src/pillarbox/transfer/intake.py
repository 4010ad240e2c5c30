"""Taking messages of files into an account: prepared in a thread, stored by groups with their record.

Nothing is taken in twice, and what a user has removed here since does not come back, whatever file it is in. A broken
run is begun again and goes on where it was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import msgspec

from pillarbox.flow.owner import this_process
from pillarbox.mime.analysis import Analysis, analyse
from pillarbox.store import blobs, imports
from pillarbox.store.imports import Attached, Incoming
from pillarbox.store.mailbox_names import INBOX
from pillarbox.store.records import NewMessage
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx
from pillarbox.transfer.folder_names import below, fitting
from pillarbox.transfer.found import Found, FoundFolder, FoundMessage, Unreadable

GROUP = 200  # messages of one transaction
GROUP_OCTETS = 4 << 20
_serial = itertools.count()


class FolderCount(msgspec.Struct):
    """What became of one folder. `octets` are of the messages that were stored now."""

    mailbox: str
    found: int = 0
    stored: int = 0
    known: int = 0
    octets: int = 0
    uids_kept: bool = False


class Report(msgspec.Struct):
    """What became of a run."""

    folders: dict[str, FolderCount] = {}
    unreadable: list[tuple[str, str]] = []  # where, why
    flags_changed: int = 0
    removed: int = 0
    problems: list[str] = []


Progress = Callable[[int, int], None]  # octets read so far, messages found so far


class Piece(msgspec.Struct):
    """A message made ready in a thread: packed, or in chunks when it is large."""

    digest: str
    analysis: Analysis
    packed: bytes | None
    chunks: list[tuple[int, bytes]] = []

    @property
    def weight(self) -> int:
        return len(self.packed) if self.packed is not None else 0


def prepare(data: bytes, *, shared: bool = False) -> Piece:
    """Digest, structure and compressed octets of a message. CPU only. `shared`: several mailboxes get it."""
    digest = blake2b(data, digest_size=16).hexdigest()
    if len(data) <= blobs.INLINE_SIZE and not shared:
        return Piece(digest, analyse(data), blobs.pack(data))
    cuts = (data[at : at + blobs.CHUNK_SIZE] for at in range(0, len(data), blobs.CHUNK_SIZE))
    return Piece(digest, analyse(data), None, [(len(cut), blobs.pack(cut)) for cut in cuts])


async def place(store: Store, piece: Piece) -> NewMessage:
    """The message ready to be stored; the chunks of a large one are in the store afterwards."""
    if piece.packed is not None:
        return NewMessage(piece.packed, None, piece.analysis)
    owner = f"{this_process()}/take{next(_serial)}"  # it is freed when this process ends before it is whole
    blob_id = await store.write(blobs.begin, owner)
    start = 0
    for sequence, (size, packed) in enumerate(piece.chunks):
        await store.write(blobs.add_chunk, blob_id, sequence, start, size, packed, size=len(packed))
        start += size
    return NewMessage(None, blob_id, piece.analysis)


class Intake:
    """One run over what a reader finds."""

    def __init__(self, store: Store, user_id: int, *, into: str = "", progress: Progress | None = None) -> None:
        """`into`: the mailbox below which all folders come; INBOX of the source is that mailbox itself."""
        self._store = store
        self._user_id = user_id
        self._into = into
        self._progress = progress or (lambda octets, messages: None)
        self._folders: dict[str, _Folder] = {}
        self._count = 0
        self.report = Report()

    async def run(self, found: Iterator[Found]) -> Report:
        """Take in all of it. Raises StoreError (quota, disk, names): what was stored until then stays."""
        group = await asyncio.to_thread(_next_group, found)
        while group:
            following = asyncio.create_task(asyncio.to_thread(_next_group, found))
            try:
                await self._take(group)
            except BaseException:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                raise
            group = await following
        for folder in self._folders.values():
            if folder.keeps_uids:
                await self._store.write(
                    imports.finish, folder.attached, folder.uidvalidity, folder.uidnext, keep_uids=True
                )
        return self.report

    async def _take(self, group: Sequence[tuple[Found, Piece | None]]) -> None:
        waiting: dict[str, list[Incoming]] = {}
        read = 0
        for one, piece in group:
            if isinstance(one, FoundFolder):
                await self._flush(waiting)
                await self._attach(one)
            elif isinstance(one, Unreadable):
                self.report.unreadable.append((one.origin, one.reason))
                read = max(read, one.read)
            elif piece is not None:
                self._count += 1
                read = max(read, one.read)
                message: NewMessage | None = None
                for name in (one.folder, *one.also):
                    folder = self._folders[name]
                    folder.count.found += 1
                    digest = folder.key(piece.digest)
                    if digest in folder.digests:
                        folder.count.known += 1
                        continue
                    if message is None:
                        message = await place(self._store, piece)
                    uid = one.uid if folder.keeps_uids else None
                    waiting.setdefault(name, []).append(
                        Incoming(digest, message, one.flags, one.keywords, one.date, None, uid)
                    )
        await self._flush(waiting)
        self._progress(read, self._count)

    async def _attach(self, found: FoundFolder) -> None:
        if found.name in self._folders:
            return
        name = self._into if self._into and found.name == INBOX else below(self._into, found.name)
        opened = await self._open(found, fitting(name))
        for folder in self._folders.values():  # two names may become one
            if folder.attached.id == opened.attached.id:
                opened = folder
        self._folders[found.name] = opened
        self.report.folders[opened.attached.mailbox] = opened.count

    async def _open(self, found: FoundFolder, mailbox: str) -> _Folder:
        def work(tx: Tx) -> tuple[Attached, set[str], bool]:
            attached = imports.attach(tx, self._user_id, imports.FILES, mailbox, mailbox)
            kept = attached.keeps_uids and attached.uidvalidity == found.uidvalidity
            if attached.fresh and found.uidvalidity:
                kept = imports.adopt(tx, attached, found.uidvalidity)
            return attached, imports.digests(tx, attached.id), kept

        attached, digests, kept = await self._store.write(work)
        return _Folder(attached, digests, kept, found)

    async def _flush(self, waiting: dict[str, list[Incoming]]) -> None:
        for name, incoming in waiting.items():
            folder = self._folders[name]
            size = sum(len(one.message.packed) for one in incoming if one.message.packed is not None)
            uids = await self._store.write(imports.take, folder.attached, incoming, size=size)
            for one, uid in zip(incoming, uids, strict=True):
                folder.digests.add(one.digest)
                if uid:
                    folder.count.stored += 1
                    folder.count.octets += one.message.analysis.size
                    if one.uid is not None and one.uid != uid:
                        folder.keeps_uids = folder.count.uids_kept = False
                else:
                    folder.count.known += 1
        waiting.clear()


class _Folder:
    def __init__(self, attached: Attached, digests: set[str], keeps_uids: bool, found: FoundFolder) -> None:
        self.attached = attached
        self.digests = digests
        self.keeps_uids = keeps_uids
        self.uidvalidity, self.uidnext = found.uidvalidity, found.uidnext
        self.count = FolderCount(attached.mailbox, uids_kept=keeps_uids)
        self._seen: dict[str, int] = {}

    def key(self, digest: str) -> str:
        """The key of the next message with these octets in this run: the same octets twice are two messages."""
        number = self._seen[digest] = self._seen.get(digest, 0) + 1
        return digest if number == 1 else f"{digest}:{number}"


def _next_group(found: Iterator[Found]) -> list[tuple[Found, Piece | None]]:
    """What comes next, made ready; empty at the end. In a thread."""
    group: list[tuple[Found, Piece | None]] = []
    weight = 0
    for one in found:
        if isinstance(one, FoundMessage) and not one.data:
            group.append((Unreadable(one.origin, "it is empty", one.read), None))
        elif isinstance(one, FoundMessage):
            weight += len(one.data)
            group.append((msgspec.structs.replace(one, data=b""), prepare(one.data, shared=bool(one.also))))
        else:
            group.append((one, None))
        if len(group) >= GROUP or weight >= GROUP_OCTETS:
            break
    return group
