"""Annotations of messages (RFC 5257): STORE, and what FETCH, SEARCH, SORT, APPEND and COPY need of them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pillarbox.imap import annotation_grammar, search
from pillarbox.imap.annotation import AnnotationChange
from pillarbox.imap.commands import Annotate
from pillarbox.imap.comparator import Comparator
from pillarbox.imap.events import Command
from pillarbox.imap.list_pattern import compile_pattern
from pillarbox.mime.section import find_part
from pillarbox.mime.tree import load_parts
from pillarbox.session import imap_store
from pillarbox.session.imap_answers import Answer, Refuse, bad, gone
from pillarbox.session.imap_search_plan import Asked, Looked
from pillarbox.session.imap_selected import Selected
from pillarbox.session.imap_store import modified
from pillarbox.store import annotating, messages
from pillarbox.store.annotating import Carried, Change, Note

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

_PAGE = 200  # messages whose parts are read at a time

HELD = 256 * 1024  # octets of annotations that FETCH has in memory, or those of one message

T = TypeVar("T")
Values = dict[tuple[str, bool], bytes]  # annotations by entry, and whether everybody's


async def store_any(session: ImapSession, command: Command) -> Answer:
    """Answer STORE, of flags or of annotations."""
    work = store if isinstance(command.args, Annotate) else imap_store.store
    return await work(session, command)


async def kept(work: Awaitable[T]) -> T:
    """What is kept of annotations, or a refusal where the store has no room for them. Raises Refuse."""
    try:
        return await work
    except annotating.TooLarge:
        raise Refuse(f"A value has at most {annotating.MAX_VALUE} octets", "ANNOTATE TOOBIG") from None
    except annotating.TooMany:
        raise Refuse(f"A message has at most {annotating.MAX_ENTRIES} annotations", "ANNOTATE TOOMANY") from None


async def store(session: ImapSession, command: Command) -> Answer:
    """Answer STORE ANNOTATION: the values are not told back, with CONDSTORE the mod-sequences are."""
    args, selected = command.args, session.selected
    assert isinstance(args, Annotate)
    assert selected is not None
    if not selected.annotatable:
        raise Refuse("The mailbox was opened read-only", "READ-ONLY")
    if args.unchanged_since is not None:
        session.condstore_used()
    require_right(args.changes, selected.rights)
    picks = session.pick(args.sequence, uid=command.uid)
    indexes = [at for pick in picks for at in pick]
    uids = [selected.uids[at] for at in indexes]
    if not uids:
        return Answer("STORE completed")
    if any(annotation_grammar.part_of(one.entry) for one in args.changes):
        for start in range(0, len(indexes), _PAGE):
            ids = [selected.ids[at] for at in indexes[start : start + _PAGE]]
            for row in await session.store.read(messages.rendered, ids):
                require_parts(args.changes, row.parts)
    done = await kept(
        session.write(
            annotating.store,
            selected.mailbox_id,
            session.user_id,
            uids,
            [Change(*one) for one in args.changes],
            args.unchanged_since,
            size=sum(len(one.value or b"") for one in args.changes),
        )
    )
    selected.annotated_by_us(done.modseq, done.changed)
    if session.condstore:
        selected.note_silent(changed[0] for changed in done.changed)
    await session.look()
    if done.refused:
        return modified(done.refused if command.uid else [selected.index(uid) + 1 for uid in done.refused])
    if not command.uid and any(map(selected.is_gone, uids)):
        raise gone()
    return Answer("STORE completed")


def require_right(changes: Iterable[AnnotationChange], rights: str) -> None:
    """RFC 5257 section 3.4: r for one's own, n for everybody's. Raises Refuse."""
    for one in changes:
        if ("n" if one.shared else "r") not in rights:
            raise Refuse("You have not the right to annotate messages in this mailbox", "NOPERM")


def require_parts(changes: Iterable[AnnotationChange], parts: bytes) -> None:
    """Every part that an entry names is in the message. Raises Refuse (BAD, RFC 5257 section 3.2.1)."""
    named = {numbers for one in changes if (numbers := annotation_grammar.part_of(one.entry))}
    if not named:
        return
    root = load_parts(parts)
    if any(find_part(root, numbers) is None for numbers in named):
        raise bad("The message has no such part")


def carried(user_id: int, rights: str) -> Carried:
    """What a copy takes into a mailbox with these rights (RFC 5257 section 4.6)."""
    return Carried(user_id, "n" in rights, "r" in rights)


class Notes:
    """The annotations of messages of a page, asked for one after the other: read a few at a time, however large."""

    def __init__(self, session: ImapSession, selected: Selected, sizes: dict[int, int]) -> None:
        self._session = session
        self._mailbox_id = selected.mailbox_id
        self._sizes = sizes  # octets by UID, of those that have any
        self._read: dict[int, Values] = {}

    @classmethod
    async def of_page(cls, session: ImapSession, selected: Selected, page: Sequence[int]) -> Notes:
        uids = [selected.uids[at] for at in page]
        return cls(
            session,
            selected,
            await session.store.read(annotating.annotated, selected.mailbox_id, session.user_id, uids),
        )

    async def of(self, uid: int) -> Values:
        """By entry and whether it is everybody's."""
        if uid not in self._sizes:
            return {}
        if uid not in self._read:
            await self._read_from(uid)
        return self._read.pop(uid, {})

    async def _read_from(self, first: int) -> None:
        uids, octets = [first], self._sizes[first]
        for uid, size in self._sizes.items():
            if uid > first and octets + size <= HELD:
                uids.append(uid)
                octets += size
        self._read.clear()
        read = self._session.store.read
        for note in await read(annotating.of, self._mailbox_id, self._session.user_id, uids, octets):
            self._read.setdefault(note.uid, {})[note.entry, note.shared] = note.value


async def news(session: ImapSession, selected: Selected) -> list[tuple[int, str, int]]:
    """Entries that have changed since the session looked last, if the client wants to be told of them."""
    if not selected.annotations_told:
        return []
    since = selected.highestmodseq
    found = await session.store.read(annotating.changed, selected.mailbox_id, session.user_id, since)
    return [one for one in found if one[0] < selected.uidnext]  # the client knows nothing of the others yet


# SEARCH and SORT.


async def looked_up(
    session: ImapSession, key: search.Key, selected: Selected, comparator: Comparator
) -> dict[Asked, Looked]:
    """For every ANNOTATION key of a search program what it finds."""
    made: dict[Asked, Looked] = {}
    for one in dict.fromkeys(one for one in search.leaves(key) if isinstance(one, search.Annotation)):
        test = _Test(one, comparator)
        uids = await session.store.scan(annotating.found, selected.mailbox_id, session.user_id, test)
        mask = int.from_bytes(bytes(map(uids.__contains__, selected.uids)), "little") if uids else 0
        everything = int.from_bytes(b"\1" * len(selected), "little")
        made[one] = Looked(mask if one.text is not None else mask ^ everything, 0)
    return made


class _Test:
    """Whether an annotation is what a key looks for. A key without a text asks for any value, and is turned round."""

    def __init__(self, key: search.Annotation, comparator: Comparator) -> None:
        self._fits = compile_pattern(key.entry)
        self._scope = key.scope
        self._key = comparator.key
        self._text = comparator.key(key.text or "")

    def __call__(self, note: Note) -> bool:
        if self._scope and note.shared != (self._scope == "shared"):
            return False
        if not self._fits(note.entry):
            return False
        return not self._text or self._text in self._key(note.value.decode("utf-8", "replace"))


async def column(
    session: ImapSession, selected: Selected, entry: str, shared: bool, found: Sequence[int], comparator: Comparator
) -> list[str]:
    """What SORT compares: the values of an entry as keys, "" where there is none."""
    values = await session.store.scan(annotating.values, selected.mailbox_id, session.user_id, entry, shared)
    made = {uid: comparator.key(value.decode("utf-8", "replace")) for uid, value in values.items()}
    return [made.get(selected.uids[at], "") for at in found]
