"""STORE: setting flags and keywords of many messages at once (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

from pillarbox.store import past
from pillarbox.store.errors import Invalid
from pillarbox.store.flags import ALL, DELETED, SEEN, join_keywords, split_keywords
from pillarbox.store.mailbox_lookup import get, held
from pillarbox.store.past import Flags
from pillarbox.store.records import Flagged, StoredFlags
from pillarbox.store.tx import Tx

MAX_KEYWORDS = 100  # on one message
MAX_KEYWORD_LENGTH = 200

Op = Literal["set", "add", "remove"]

Step = tuple[Flags, Flags, list[int]]  # what these messages had and are to have

_FEW = 4  # groups that get a statement each, whatever their size
_SMALL = 20  # messages: a group of fewer is no statement of its own, where there are many
_ONE = "UPDATE messages SET flags = ?, keywords = ?, modseq = ? WHERE mailbox_id = ? AND uid = ?"
_SELECT = "SELECT uid, flags, keywords, modseq FROM messages WHERE mailbox_id = ? AND "


def store_flags(
    tx: Tx,
    mailbox_id: int,
    uids: Sequence[int],
    op: Op,
    flags: int,
    keywords: Sequence[str] = (),
    unchanged_since: int | None = None,
    *,
    mask: int = ALL,
    words: bool = True,
) -> StoredFlags:
    """Change flags (bits) and keywords of these messages; UIDs that are not there are passed over.

    A message whose flags stay as they were keeps its modification number. With `unchanged_since` a message changed
    later is refused. Flags that are not in `mask` stay as they are, without `words` keywords too.
    Raises NotFound, Invalid (a keyword that cannot be stored).
    """
    _require_storable(keywords)
    mailbox = held(tx, mailbox_id)
    change = _change(op, flags & ALL, keywords, mask, words)
    groups, refused = _groups(tx, mailbox_id, uids, unchanged_since)
    steps = [(had, became, group) for had, group in groups.items() if (became := change(*had)) != had]
    before = mailbox.highestmodseq
    if not steps:
        return StoredFlags(before, before, [], refused)
    modseq = tx.next_modseq(mailbox.user_id)
    unseen = deleted = 0
    changed: list[Flagged] = []
    put(tx, mailbox_id, modseq, steps)
    past.note_flags(tx, mailbox_id, ((had, group) for had, _, group in steps))
    for (old, _), (new, text), group in steps:
        unseen += len(group) * (bool(old & SEEN) - bool(new & SEEN))
        deleted += len(group) * (bool(new & DELETED) - bool(old & DELETED))
        split = split_keywords(text)
        changed += [(uid, new, split, modseq) for uid in group]
    tx.run(
        "UPDATE mailboxes SET highestmodseq = ?, unseen_count = unseen_count + ?, deleted_count = deleted_count + ? "
        "WHERE id = ?",
        (modseq, unseen, deleted, mailbox_id),
    )
    tx.touch(mailbox.user_id, mailbox_id)
    if len(steps) > 1:
        changed.sort()
    return StoredFlags(before, modseq, changed, refused)


def put(tx: Tx, mailbox_id: int, modseq: int, steps: Sequence[Step]) -> None:
    """Write them, and no counts: a statement for each of few or large groups, one for all of many small ones."""
    small = [step for step in steps if len(step[2]) < _SMALL] if len(steps) > _FEW else []
    if small:
        tx.many(_ONE, [(new, text, modseq, mailbox_id, uid) for _, (new, text), group in small for uid in group])
    for (_, old_text), (new, text), group in steps:
        if small and len(group) < _SMALL:
            continue
        condition, values = tx.among("uid", group)
        keep, texts = ("", ()) if text == old_text else (", keywords = ?", (text,))
        tx.run(
            f"UPDATE messages SET flags = ?, modseq = ?{keep} WHERE mailbox_id = ? AND {condition}",
            (new, modseq, *texts, mailbox_id, values),
        )


def unchanged(
    tx: Tx,
    mailbox_id: int,
    uids: Sequence[int],
    op: Op,
    flags: int,
    keywords: Sequence[str] = (),
    unchanged_since: int | None = None,
    *,
    mask: int = ALL,
    words: bool = True,
) -> StoredFlags | None:
    """What `store_flags` answers where all flags are as wanted already, by reading alone; None: something would change.

    Raises as that does.
    """
    _require_storable(keywords)
    tx.heavy(rows=len(uids))
    now = get(tx, mailbox_id).highestmodseq
    change = _change(op, flags & ALL, keywords, mask, words)
    groups, refused = _groups(tx, mailbox_id, uids, unchanged_since)
    return None if any(change(*had) != had for had in groups) else StoredFlags(now, now, [], refused)


def _require_storable(keywords: Sequence[str]) -> None:
    for keyword in keywords:
        if not keyword or len(keyword) > MAX_KEYWORD_LENGTH or any(c <= " " or c == "\x7f" for c in keyword):
            raise Invalid("a keyword is empty, too long, or contains spaces or control characters")


def _groups(
    tx: Tx, mailbox_id: int, uids: Sequence[int], unchanged_since: int | None
) -> tuple[dict[tuple[int, str], list[int]], list[int]]:
    """UIDs by their flags and keywords, which are few different ones; and those that were changed since."""
    condition, values = tx.among("uid", uids)
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    refused: list[int] = []
    for uid, bits, text, modseq in tx.rows(f"{_SELECT}{condition} ORDER BY uid", (mailbox_id, values)):
        if unchanged_since is not None and modseq > unchanged_since:
            refused.append(uid)
        else:
            groups[bits, text].append(uid)
    return groups, refused


def _change(
    op: Op, flags: int, keywords: Sequence[str], mask: int, words: bool
) -> Callable[[int, str], tuple[int, str]]:
    """What becomes of (flags, keywords) of one message."""
    texts: dict[str, str] = {}  # few different ones even in a large mailbox

    def text_of(old: str) -> str:
        new = texts.get(old)
        if new is None:
            new = texts[old] = _keywords_after(op, old, keywords)
        return new

    flags &= mask
    keep = ALL & ~mask
    change_words = words and (bool(keywords) or op == "set")
    match op:
        case "set":
            return lambda old, text: (old & keep | flags, text_of(text) if change_words else text)
        case "add":
            return lambda old, text: (old | flags, text_of(text) if change_words else text)
        case "remove":
            return lambda old, text: (old & ~flags, text_of(text) if change_words else text)


def _keywords_after(op: Op, old: str, keywords: Sequence[str]) -> str:
    had = split_keywords(old)
    match op:
        case "set":
            spelt = {keyword.lower(): keyword for keyword in had}
            after = [spelt.get(keyword.lower(), keyword) for keyword in keywords]
        case "add":
            after = [*had, *keywords]
        case "remove":
            without = {keyword.lower() for keyword in keywords}
            after = [keyword for keyword in had if keyword.lower() not in without]
    text = join_keywords(after)
    if text.count(" ") >= MAX_KEYWORDS:
        raise Invalid(f"a message has at most {MAX_KEYWORDS} keywords")
    return text
