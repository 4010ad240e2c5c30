"""The record of what was taken in from elsewhere: nothing comes twice, and a run goes on where one was broken off.

A source is "files" for all that lies in files, whatever their format and place: a message is known by its octets and
the folder it goes to, so the same mail as Maildir and as mbox comes once. An IMAP server is a source of its own whose
messages have UIDs. The record is made in the transaction that stores the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pillarbox.store import copying, flagging, mailboxes
from pillarbox.store.delivery import append
from pillarbox.store.flags import DELETED, join_keywords, split_keywords
from pillarbox.store.mailbox_lookup import find, get
from pillarbox.store.records import NewMessage
from pillarbox.store.tx import Tx

FILES = "files"
HIGHEST_UID = 1 << 31  # that is kept: UIDs have 32 bits, and mail that comes later has some too


class Attached(msgspec.Struct, frozen=True):
    """A folder of a source and the mailbox it goes to. `fresh`: no message was ever in that mailbox.

    `uidvalidity` and `uidnext` are what the source said at the end of the last run; `keeps_uids`: until now every
    message has the UID it has there, under the same UIDVALIDITY.
    """

    id: int
    mailbox_id: int
    mailbox: str
    fresh: bool
    uidvalidity: int
    uidnext: int
    keeps_uids: bool


class Incoming(msgspec.Struct, frozen=True):
    """A message to be taken in. `digest` is its key in the record, `source_uid` its UID at an IMAP server.

    `uid`: the UID it is to have where that is still possible.
    """

    digest: str
    message: NewMessage
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date: int | None = None
    source_uid: int | None = None
    uid: int | None = None


class Known(msgspec.Struct, frozen=True, gc=False):
    """A message of an IMAP server that is here: its UID there and here, and its flags there at the last look."""

    source_uid: int
    uid: int
    size: int
    flags: int
    keywords: str


def attach(tx: Tx, user_id: int, source: str, folder: str, mailbox: str) -> Attached:
    """Find or make the mailbox for a folder. It stays the same one when it is renamed here.

    A mailbox that was deleted here is made anew, and its messages come again. Raises Invalid, Conflict, NotFound.
    """
    tx.lock([user_id])
    row = tx.row(
        "SELECT f.id, m.id, f.uidvalidity, f.uidnext, f.keeps_uids FROM import_folders f LEFT JOIN mailboxes m "
        "ON m.id = f.mailbox_id AND m.user_id = f.user_id WHERE f.user_id = ? AND f.source = ? AND f.folder = ?",
        (user_id, source, folder),
    )
    if row is not None and row[1] is not None:
        box = get(tx, row[1])
        return Attached(row[0], box.id, box.name, box.uidnext == 1, row[2], row[3], bool(row[4]))
    if row is not None:
        tx.run("DELETE FROM import_folders WHERE id = ?", (row[0],))
    found = find(tx, user_id, mailbox)
    if found is None:
        found = mailboxes.create(tx, user_id, mailbox)
        mailboxes.subscribe(tx, user_id, found.name)
    folder_id = tx.insert(
        "INSERT INTO import_folders (user_id, source, folder, mailbox_id, updated_at) VALUES (?, ?, ?, ?, ?)",
        (user_id, source, folder, found.id, tx.now),
    )
    return Attached(folder_id, found.id, found.name, found.uidnext == 1, 0, 0, False)


def adopt(tx: Tx, folder: Attached, uidvalidity: int) -> bool:
    """Give a mailbox in which no message ever was the UIDVALIDITY of its source, so that clients keep their caches.

    False, and nothing is changed, where that cannot be: there was a message, another mailbox of the account that had
    one has that number, or it lies in the future and may be given to one. An empty mailbox in the way gets another.
    """
    box = get(tx, folder.mailbox_id)
    tx.lock([box.user_id])
    (highest,) = tx.row("SELECT value FROM store_counters WHERE id = 2") or (0,)
    if not 0 < uidvalidity <= max(highest, tx.now) or get(tx, box.id).uidnext != 1:
        return False
    taken = tx.row(
        "SELECT id, uidnext, deleted_at FROM mailboxes WHERE (user_id = ? OR deleted_owner = ?) "
        "AND uidvalidity = ? AND id <> ?",
        (box.user_id, box.user_id, uidvalidity, box.id),
    )
    if taken is not None:
        if taken[1] != 1 or taken[2] is not None:
            return False
        _renumber(tx, box.user_id, taken[0], mailboxes.new_uidvalidity(tx))
    tx.run("UPDATE store_counters SET value = ? WHERE id = 2 AND value < ?", (uidvalidity, uidvalidity))
    _renumber(tx, box.user_id, box.id, uidvalidity)
    tx.run("UPDATE import_folders SET keeps_uids = 1, uidvalidity = ? WHERE id = ?", (uidvalidity, folder.id))
    return True


def abandon_uids(tx: Tx, folder: Attached) -> None:
    """From now on UIDs here are other ones than there: clients must forget what they know of the mailbox."""
    box = get(tx, folder.mailbox_id)
    tx.lock([box.user_id])
    _renumber(tx, box.user_id, box.id, mailboxes.new_uidvalidity(tx))
    tx.run("UPDATE import_folders SET keeps_uids = 0 WHERE id = ?", (folder.id,))


def _renumber(tx: Tx, user_id: int, mailbox_id: int, uidvalidity: int) -> None:
    modseq = tx.next_modseq(user_id)
    tx.run("UPDATE mailboxes SET uidvalidity = ?, highestmodseq = ? WHERE id = ?", (uidvalidity, modseq, mailbox_id))
    tx.touch(user_id, mailbox_id)


def finish(tx: Tx, folder: Attached, uidvalidity: int, uidnext: int, *, keep_uids: bool) -> None:
    """Remember what the source said at the end of a run. With `keep_uids` the next UID here is at least `uidnext`:
    what the source gave to messages that are gone is not given again.
    """
    uidnext = min(uidnext, HIGHEST_UID)
    tx.run(
        "UPDATE import_folders SET uidvalidity = ?, uidnext = ?, updated_at = ? WHERE id = ?",
        (uidvalidity, uidnext, tx.now, folder.id),
    )
    if keep_uids:
        tx.run("UPDATE mailboxes SET uidnext = ? WHERE id = ? AND uidnext < ?", (uidnext, folder.mailbox_id, uidnext))


def digests(tx: Tx, folder_id: int) -> set[str]:
    """What was taken in of a folder. A scan."""
    return {row[0] for row in tx.rows("SELECT digest FROM imported WHERE folder_id = ?", (folder_id,))}


def unclaimed(tx: Tx, folder_id: int) -> set[str]:
    """Digests of messages whose UID at the source is not known (any more). A scan."""
    rows = tx.rows("SELECT digest FROM imported WHERE folder_id = ? AND source_uid IS NULL", (folder_id,))
    return {row[0] for row in rows}


def known(tx: Tx, folder_id: int) -> list[Known]:
    """What was taken in of a folder of an IMAP server, by UID there. A scan."""
    rows = tx.rows(
        "SELECT source_uid, uid, size, flags, keywords FROM imported WHERE folder_id = ? "
        "AND source_uid IS NOT NULL ORDER BY source_uid",
        (folder_id,),
    )
    return [Known(*row) for row in rows]


def take(tx: Tx, folder: Attached, incoming: Sequence[Incoming]) -> list[int]:
    """Store messages with their record; their UIDs, 0 for those that the record has already.

    Where one cannot have the UID that it is to have, the mailbox gets a new UIDVALIDITY (`abandon_uids`).
    One whose octets are known without a UID of the source (its UIDVALIDITY changed) gets the UID in the record.
    Raises NotFound (the mailbox was deleted), OverQuota: nothing is stored then.
    """
    uids: list[int] = []
    abandoned = False
    for one in incoming:
        if tx.row("SELECT 1 FROM imported WHERE folder_id = ? AND digest = ?", (folder.id, one.digest)):
            if one.source_uid is not None:
                tx.run(
                    "UPDATE imported SET source_uid = ? WHERE folder_id = ? AND digest = ?",
                    (one.source_uid, folder.id, one.digest),
                )
            uids.append(0)
            continue
        if one.uid is not None and not abandoned and not _raise_uidnext(tx, folder.mailbox_id, one.uid):
            abandon_uids(tx, folder)
            abandoned = True
        made = append(tx, folder.mailbox_id, one.message, one.flags, one.keywords, one.date)
        keywords = join_keywords(one.keywords)
        tx.insert(
            "INSERT INTO imported (folder_id, digest, source_uid, uid, size, flags, keywords) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (folder.id, one.digest, one.source_uid, made.uid, one.message.analysis.size, one.flags, keywords),
        )
        uids.append(made.uid)
    return uids


def _raise_uidnext(tx: Tx, mailbox_id: int, uid: int) -> bool:
    """Let the next message have this UID; False when it is given already, or leaves too few for those that come."""
    return 0 < uid <= HIGHEST_UID and bool(
        tx.run("UPDATE mailboxes SET uidnext = ? WHERE id = ? AND uidnext <= ?", (uid, mailbox_id, uid))
    )


def forget_uids(tx: Tx, folder_id: int) -> None:
    """The source has a new UIDVALIDITY: the UIDs of the record mean nothing any more, its digests do."""
    tx.run("UPDATE imported SET source_uid = NULL WHERE folder_id = ?", (folder_id,))


def follow_flags(tx: Tx, folder: Attached, changed: Iterable[tuple[Known, int, tuple[str, ...]]]) -> int:
    """Flags that changed at the source change here too; how many messages. One that is gone here is passed over."""
    groups: dict[tuple[int, str], list[Known]] = {}
    for one, flags, keywords in changed:
        groups.setdefault((flags, join_keywords(keywords)), []).append(one)
    count = 0
    for (flags, text), group in groups.items():
        uids = [one.uid for one in group]
        flagging.store_flags(tx, folder.mailbox_id, uids, "set", flags, split_keywords(text))
        tx.many(
            "UPDATE imported SET flags = ?, keywords = ? WHERE folder_id = ? AND source_uid = ?",
            [(flags, text, folder.id, one.source_uid) for one in group],
        )
        count += len(group)
    return count


def follow_expunges(tx: Tx, folder: Attached, gone: Sequence[Known]) -> int:
    """What is gone at the source goes here too (and can be brought back as anything expunged); how many messages."""
    uids = [one.uid for one in gone]
    flagging.store_flags(tx, folder.mailbox_id, uids, "add", DELETED)
    done = copying.expunge(tx, folder.mailbox_id, uids)
    tx.many(
        "DELETE FROM imported WHERE folder_id = ? AND source_uid = ?", [(folder.id, one.source_uid) for one in gone]
    )
    return len(done.uids)


def present(tx: Tx, folder: Attached, uids: Sequence[int]) -> dict[int, int]:
    """The sizes of those of these messages that are in the mailbox, by UID. A scan."""
    condition, values = tx.among("uid", uids)
    rows = tx.rows(f"SELECT uid, size FROM messages WHERE mailbox_id = ? AND {condition}", (folder.mailbox_id, values))
    return dict(rows)
