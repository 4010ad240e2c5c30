"""STORE: setting flags and keywords of many messages at once (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

from pillarbox.store.errors import Invalid
from pillarbox.store.flags import ALL, DELETED, SEEN, join_keywords, split_keywords
from pillarbox.store.mailbox_lookup import get
from pillarbox.store.records import Flagged, StoredFlags
from pillarbox.store.tx import Tx

MAX_KEYWORDS = 100  # on one message
MAX_KEYWORD_LENGTH = 200

Op = Literal["set", "add", "remove"]

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
    later is refused. Flags that are not in `mask` stay as they are, without
    `words` keywords too. Raises NotFound, Invalid (a keyword that cannot be stored).
    """
    for keyword in keywords:
        if not keyword or len(keyword) > MAX_KEYWORD_LENGTH or any(c <= " " or c == "\x7f" for c in keyword):
            raise Invalid("a keyword is empty, too long, or contains spaces or control characters")
    mailbox = get(tx, mailbox_id)
    tx.lock([mailbox.user_id])
    condition, values = tx.among("uid", uids)
    change = _change(op, flags & ALL, keywords, mask, words)
    refused: list[int] = []
    wanted: list[tuple[int, int, str]] = []
    unseen = deleted = 0
    by_keywords: dict[tuple[int, str], list[int]] = defaultdict(list)
    for uid, old_flags, old_keywords, modseq in tx.rows(f"{_SELECT}{condition} ORDER BY uid", (mailbox_id, values)):
        if unchanged_since is not None and modseq > unchanged_since:
            refused.append(uid)
            continue
        new_flags, new_keywords = change(old_flags, old_keywords)
        if new_flags == old_flags and new_keywords == old_keywords:
            continue
        difference = new_flags ^ old_flags
        if difference & SEEN:
            unseen += -1 if new_flags & SEEN else 1
        if difference & DELETED:
            deleted += 1 if new_flags & DELETED else -1
        wanted.append((uid, new_flags, new_keywords))
        by_keywords[new_flags, new_keywords].append(uid)
    if not wanted:
        return StoredFlags(get(tx, mailbox_id).highestmodseq, [], refused)
    modseq = tx.next_modseq(mailbox.user_id)
    for (new_flags, new_keywords), group in by_keywords.items():
        condition, values = tx.among("uid", group)
        tx.run(
            f"UPDATE messages SET flags = ?, keywords = ?, modseq = ? WHERE mailbox_id = ? AND {condition}",
            (new_flags, new_keywords, modseq, mailbox_id, values),
        )
    tx.run(
        "UPDATE mailboxes SET highestmodseq = ?, unseen_count = unseen_count + ?, deleted_count = deleted_count + ? "
        "WHERE id = ?",
        (modseq, unseen, deleted, mailbox_id),
    )
    tx.touch(mailbox.user_id, mailbox_id)
    split = {text: split_keywords(text) for _, text in by_keywords}
    changed: list[Flagged] = [(uid, bits, split[text], modseq) for uid, bits, text in wanted]
    return StoredFlags(modseq, changed, refused)


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
