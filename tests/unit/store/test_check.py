"""check finds each kind of damage and says it in a sentence."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from store_samples import Clock, inbox_of, message, raw_message, to

from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, Tx, annotating, blobs, directory, lists, messages, open_store, routes, senders
from pillarbox.store.records import NewMessage, Queued
from pillarbox.store.sqlite_setup import check_sqlite

DAMAGE = [
    ("UPDATE mailboxes SET message_count = 9 WHERE id = 1", "Mailbox 1 (INBOX) says 9 messages"),
    ("UPDATE mailboxes SET unseen_count = 9 WHERE id = 1", "9 unseen"),
    ("UPDATE mailboxes SET uidnext = 2 WHERE id = 1", "not below its UIDNEXT 2"),
    ("UPDATE messages SET modseq = 999 WHERE id = 1", "above its HIGHESTMODSEQ"),
    ("UPDATE expunged SET modseq = 999", "remembers an expunge of UID 3"),
    ("UPDATE mailboxes SET highestmodseq = 999 WHERE id = 2", "above its account's counter"),
    ("UPDATE mailboxes SET history_from = 999 WHERE id = 2", "has its history from 999 on"),
    ("UPDATE expunged SET uid = 1", "remembers UID 1 as expunged, but the message is there"),
    ("UPDATE expunged SET id = 1", "both there and expunged"),
    ("UPDATE blobs SET complete = 0 WHERE id = 1", "not there or not complete"),
    ("UPDATE messages SET size = size + 1 WHERE id = 1", "but prefix and blob have"),
    ("UPDATE users SET quota_used = 1", "User alice is charged 1 octets"),
    ("UPDATE mailboxes SET name = 'inbox' WHERE id = 1", "User alice has no INBOX"),
    ("UPDATE mailboxes SET uidvalidity = 99999999999 WHERE id = 1", "above the store's last one"),
    ("UPDATE mailboxes SET uidvalidity = 0 WHERE id = 2", "Mailbox 2 has UIDVALIDITY 0, which no client takes"),
    ("UPDATE blob_chunks SET data = x'00' WHERE blob_id = 1", "Blob 1 is damaged"),
    ("UPDATE blobs SET size = size + 1 WHERE id = 2", "Blob 2 is damaged"),
    ("DELETE FROM blob_chunks WHERE sequence = 1", "its chunks have 1048576 octets"),
    ("UPDATE blob_chunks SET start = 7 WHERE sequence = 1", "chunk 1 begins at 7 instead of 1048576"),
    ("UPDATE messages SET keywords = ' a' WHERE id = 1", "keywords that are not sorted"),
    ("UPDATE mailboxes SET deleted_at = 1 WHERE id = 2", "is deleted but has an owner"),
    ("DELETE FROM mailboxes WHERE id = 1", "belongs to mailbox 1, which is not there"),
    ("DELETE FROM blobs WHERE id = 1", "refers to a row of blobs that is not there"),
    ("DELETE FROM users", "who is not there"),
    ("UPDATE mailboxes SET uidvalidity = 7 WHERE id IN (2, 3)", "Mailboxes 2 and 3 of one account have the same"),
    ("UPDATE expunged SET uid = 99", "UID 99, not below its UIDNEXT"),
    ("UPDATE mailboxes SET first_recent_uid = 99 WHERE id = 1", "from UID 99 on are recent"),
    ("UPDATE messages SET flags = 33 WHERE id = 1", "has flags 33"),
    ("UPDATE expunged SET blob_id = 99", "The expunge of message 3 refers to blob 99"),
    ("UPDATE blobs SET parts = NULL WHERE id = 1", "Blob 1 lacks what was computed"),
    ("UPDATE blobs SET envelope = NULL WHERE id = 1", "Blob 1 lacks what was computed"),
    ("UPDATE blobs SET data = x'00' WHERE id = 2", "Blob 2 has its octets twice"),
    ("UPDATE message_queue SET blob_id = NULL", "Queue row 1 has no message"),
    ("UPDATE message_queue SET status = 'odd'", "'odd', which there is not"),
    (
        "INSERT INTO message_queue (from_address, to_address, created_at, status, next_retry_at, blob_id) "
        "VALUES ('a@b.c', 'd@e.f', 1, 'held', 5, 1)",
        "Queue row 3 is held, but would be sent at 5",
    ),
    (
        "UPDATE message_queue SET created_at = 'yesterday' WHERE id = 1",
        "Queue row 1: created_at is 'yesterday', which is no time in seconds since 1970; "
        "UPDATE message_queue SET created_at = strftime('%s','now') WHERE id = 1 mends it.",
    ),
    ("UPDATE message_queue SET created_at = 1700000000000", "created_at is 1700000000000, which is no time"),
    ("UPDATE message_queue SET attempts = 1.5", "attempts is 1.5, which is no whole number"),
    ("UPDATE message_queue SET to_address = x'00'", "to_address is b'\\x00', which is no text"),
    ("UPDATE message_queue SET claimed_by = 'me'", "is pending, but claimed by me"),
    ("UPDATE destinations SET due_at = due_at + 1", "Destination 1 (mx e.f) is due at"),
    ("UPDATE destinations SET due_at = NULL", "Destination 1 (mx e.f) is due at None"),
    ("INSERT OR REPLACE INTO destinations (id, name) VALUES (9, 'mx e.f')", "waits for destination 1, which is not"),
    ("UPDATE routes SET kind = 'pigeon'", "Route 1 (relay) has the kind 'pigeon'"),
    ("UPDATE routes SET tls = 'maybe'", "and the TLS 'maybe'"),
    ("UPDATE route_rules SET scope = 'envelope'", "Rule 1 has the scope 'envelope'"),
    ("UPDATE route_rules SET route_id = 9", "refers to a row of routes that is not there"),
    ("UPDATE route_rules SET pattern = 'E.f'", "The pattern 'E.f' of a rule"),
    ("UPDATE lists SET posting = 'all'", "List 1 (l@example.com) may be posted to by 'all'"),
    ("UPDATE list_members SET address = 'l@example.com'", "List 1 (l@example.com) is a member of itself"),
    ("UPDATE lists SET owner = address", "List 1 (l@example.com) has itself as owner: name a person"),
    ("UPDATE lists SET address = 'L@example.com'", "The list 'L@example.com' has another form"),
    ("UPDATE list_members SET address = 'X@y.z'", "The member 'X@y.z' of list 1"),
    ("UPDATE sender_grants SET address = '@Y.z'", "The grant of '@Y.z' to user 1"),
    ("UPDATE messages SET keywords = 'b a' WHERE id = 1", "keywords that are not sorted"),
    ("UPDATE messages SET keywords = 'a a' WHERE id = 1", "keywords that are not sorted"),
    ("UPDATE mailboxes SET name = 'Inbox/' WHERE id = 2", "The name 'Inbox/' of mailbox 2 has another form"),
    ("UPDATE users SET email = 'alice@example.net'", "is not the domain of alice@example.net"),
    ("INSERT INTO domains (name, created_at) VALUES ('Ex.Org', 0)", "The domain 'Ex.Org'"),
    ("INSERT INTO aliases (address, target, created_at) VALUES ('A@b.c', 'd@e.f', 0)", "The alias 'A@b.c'"),
    ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'messages'", "Ids of messages are given again"),
    (
        "INSERT INTO acl (owner_id, mailbox_id, rights) SELECT 2, id, 'lr' FROM mailboxes WHERE user_id = 1 LIMIT 1",
        "given by user 2, who does not own it",
    ),
    ("INSERT INTO acl (owner_id, user_id, rights) VALUES (1, 1, 'l')", "Rights 1 are given by user 1 to itself"),
    ("INSERT INTO acl (owner_id, rights) VALUES (1, 'rl')", "The rights 'rl' of row 1"),
    ("INSERT INTO metadata (entry, value) VALUES ('/private/X', x'')", "The entry '/private/X' of metadata 1"),
    ("UPDATE mailboxes SET annotation_octets = 7 WHERE id = 1", "says 7 octets of annotations; its rows say 15"),
    ("UPDATE annotations SET uid = 77", "Annotation 1 of mailbox 1 belongs to UID 77"),
    ("UPDATE annotations SET modseq = 999", "has the modification number 999, above that of its message"),
    ("UPDATE users SET quota_messages = -1", "has a quota below zero"),
]


@pytest.fixture
async def filled(folder: object, clock: Clock) -> AsyncIterator[Store]:
    store = await open_store(f"{folder}/smtp.db", clock=clock)
    user = await store.write(directory.create_user, "alice", "alice@example.com", "h")
    await store.write(messages.deliver, message(), [to(user), to(user), to(user, flags=8), Queued("a@b.c", "d@e.f")])
    await store.write(routes.create_route, "relay", "smarthost", host="h")
    await store.write(routes.add_rule, "recipient", "e.f", "relay")
    await store.write(lists.create_list, "l@example.com", "alice@example.com")
    await store.write(lists.add_members, "l@example.com", ["x@y.z"])
    await store.write(senders.grant, user.id, "@y.z")
    await store.write(messages.expunge, (await inbox_of(store, user)).id)
    comment = annotating.Change("/comment", True, b"a value")
    await store.write(annotating.store, (await inbox_of(store, user)).id, user.id, [1], [comment])
    raw = raw_message(body="x" * 1_500_000)
    large = await store.write(blobs.begin, "1:1")
    for sequence, start in enumerate((0, blobs.CHUNK_SIZE)):
        piece = raw[start : start + blobs.CHUNK_SIZE]
        await store.write(blobs.add_chunk, large, sequence, start, len(piece), blobs.pack(piece))
    await store.write(messages.deliver, NewMessage(None, large, analyse(raw)), [to(user)])
    await store.write(messages.deliver, message(), [Queued("a@b.c", "d@e.f", destination="mx e.f")])
    yield store
    await store.close()


async def test_each_damage_is_found(filled: Store) -> None:
    assert await filled.check() == []

    class Enough(Exception):
        pass

    def damaged(tx: Tx, sql: str) -> None:
        from pillarbox.store.check import check, check_file

        tx.run("PRAGMA defer_foreign_keys = ON")
        assert tx.run(sql) > 0
        raise Enough([*check_file(tx), *check(tx)])

    for sql, expected in DAMAGE:
        with pytest.raises(Enough) as caught:
            await filled.write(damaged, sql)
        sentences = caught.value.args[0]
        assert any(expected in sentence for sentence in sentences), (sql, sentences)
        assert all(sentence.endswith(".") for sentence in sentences)
    assert await filled.check() == []


async def test_many_findings_of_a_kind_are_counted(filled: Store) -> None:
    inbox = 1
    await filled.write(lambda tx: [messages.copy(tx, inbox, range(1, 99), inbox) for _ in range(6)])
    await filled.write(lambda tx: tx.run("UPDATE messages SET size = size + 1"))
    sentences = await filled.check()
    assert any(sentence.startswith("... and ") for sentence in sentences)
    await filled.write(lambda tx: tx.run("UPDATE messages SET size = size - 1"))


async def test_a_damaged_page_is_named_and_the_rest_is_looked_at(filled: Store, folder: Path) -> None:
    path = copy_of(folder)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE users SET quota_messages = -1")
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'idx_messages_modseq'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    with open(path, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    sentences = check_sqlite(path)
    assert any(sentence.startswith("SQLite: ") and str(page) in sentence for sentence in sentences)
    assert any("has a quota below zero" in sentence for sentence in sentences)
    with open(path, "r+b") as file:  # the page with the schema
        file.seek(100)
        file.write(b"\xff" * 900)
    assert any("malformed" in sentence for sentence in check_sqlite(path))


async def test_what_the_schema_lacks_is_named(filled: Store, folder: Path) -> None:
    path = copy_of(folder)
    assert check_sqlite(path) == []
    for statement, expected in (
        ("DROP INDEX idx_messages_modseq", "The index idx_messages_modseq is missing."),
        ("DROP TRIGGER bans_insert", "The trigger bans_insert is missing."),
        ("DROP TABLE aliases", "The table aliases is missing."),
        ("DELETE FROM schema_migrations WHERE version > 8", "The schema is that of step 8"),
    ):
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(statement)
        database.close()
        assert any(sentence.startswith(expected) for sentence in check_sqlite(path)), statement


def copy_of(folder: Path) -> str:
    live = apsw.Connection(f"{folder}/smtp.db")
    live.execute("VACUUM INTO ?", (f"{folder}/copy.db",))
    live.close()
    return f"{folder}/copy.db"
