"""The texts that SEARCH looks through say what the rows of the messages say, whatever became of their summary."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from store_samples import inbox_of, to

from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, blobs, directory, messages, summaries, summary_texts
from pillarbox.store.records import NewMessage, User
from pillarbox.store.summary_texts import NAMES, NO_DAY

LETTERS = (
    b"From: Bob <bob@x>, =?utf-8?q?=C3=9C?= <u@x>\r\nTo: G: a@b, c@d;\r\nSubject: =?utf-8?b?w7xi?=\r\n a\tx\r\n"
    b"Date: Tue, 8 Feb 2022 01:00:00 +0900\r\n\r\nx",
    b"Subject: " + b"x" * 2000 + b"\r\nCc: " + b", ".join(b"a%d@example.org" % n for n in range(600)) + b"\r\n\r\nx",
    b"Subject: =?utf-8?q?=EF=B7=BA" + b"=EF=B7=BA" * 300 + b"?=\r\nDate: never\r\nBcc: me@x\r\n\r\nx",
    b"\r\nno header",
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SPAN": 4, "LEAST": 4}.items():
        monkeypatch.setattr(summaries, name, value)
    monkeypatch.setattr(summary_texts, "_BATCH", 2)


async def fill(store: Store, user: User) -> int:
    for letter in LETTERS:
        new = NewMessage(blobs.pack(letter), None, analyse(letter))
        await store.write(messages.deliver, new, [to(user)])
    return (await inbox_of(store, user)).id


async def pack(store: Store) -> int:
    """Write all texts that are due; how many."""
    while found := await store.scan(summaries.due):
        while found:
            await store.write(summaries.put, found.pop())
    count = 0
    while due := await store.scan(summary_texts.due):
        while due:
            count += await store.write(summary_texts.put, due.pop())
    return count


async def forms(store: Store) -> list[str]:
    return [row[0] for row in await store.read(lambda tx: tx.rows("SELECT form FROM summary_texts"))]


async def test_they_are_those_of_the_rows(store: Store, alice: User) -> None:
    inbox = await fill(store, alice)
    assert await pack(store) == 1
    (place,) = await store.read(summaries.places, inbox, 1, 9)
    stored = await store.scan(summary_texts.read, place.id, NAMES)
    assert stored is not None
    ids, told = stored
    assert told == await store.scan(summary_texts.of_rows, ids, NAMES)
    assert [told["subject"][at] for at in (0, 1, 2, 3)] == ["U\u0308B A\tX", None, None, ""]
    assert told["from"][0] == "BOB <BOB@X>\nU\u0308 <U@X>"
    assert told["to"][0] == "G\n <A@B>\n <C@D>\n"
    assert told["cc"] == ["", None, "", ""]
    assert told["bcc"][2] == " <ME@X>"
    assert told["sent"] == [19031, None, NO_DAY, NO_DAY]
    assert await store.scan(summary_texts.of_rows, [ids[0], 1 << 40], ["subject"]) == {
        "subject": ["U\u0308B A\tX", None]
    }
    assert await store.scan(summary_texts.read, place.id, ["cc"]) == (ids, {"cc": told["cc"]})
    assert await store.check() == []


async def test_they_go_with_their_summary_and_come_again(store: Store, alice: User) -> None:
    inbox = await fill(store, alice)
    await fill(store, alice)
    assert await pack(store) == 2
    await store.write(messages.store_flags, inbox, [1, 2, 3], "add", 8)
    await store.write(messages.expunge, inbox)
    for summary_id in reversed(await store.scan(summaries.thinned)):
        await store.write(summaries.tidy, summary_id)
    assert len(await forms(store)) == 1
    assert await pack(store) == 1
    assert len(await forms(store)) == 2
    await store.write(lambda tx: tx.run("DELETE FROM summaries"))
    assert await forms(store) == []


async def test_they_go_with_a_summary_that_sqlite3_deletes(sqlite_store: Store, folder: Path) -> None:
    """Foreign keys are off there."""
    alice = await sqlite_store.write(directory.create_user, "alice", "alice@example.com", "h")
    await fill(sqlite_store, alice)
    assert await pack(sqlite_store) == 1
    with closing(sqlite3.connect(folder / "smtp.db")) as database, database:
        database.execute("DELETE FROM summaries")
    assert await forms(sqlite_store) == []
    assert await sqlite_store.check() == []
    assert await pack(sqlite_store) == 1


async def test_those_of_other_tables_of_unicode_are_not_read_and_made_anew(
    store: Store, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = await fill(store, alice)
    await pack(store)
    (place,) = await store.read(summaries.places, inbox, 1, 9)
    monkeypatch.setattr(summary_texts, "FORM", "1 99.0")
    assert await store.scan(summary_texts.read, place.id, NAMES) is None
    assert await pack(store) == 1
    assert await forms(store) == ["1 99.0"]
    assert await store.scan(summary_texts.read, place.id, NAMES) is not None


async def test_what_was_made_of_a_summary_that_is_gone_is_not_written(store: Store, alice: User) -> None:
    await fill(store, alice)
    while found := await store.scan(summaries.due):
        await store.write(summaries.put, found.pop())
    (made,) = await store.scan(summary_texts.due)
    await store.write(lambda tx: tx.run("DELETE FROM summaries"))
    assert await store.write(summary_texts.put, made) == 1
    assert await forms(store) == []


async def test_check_reads_them_and_a_summary_that_cannot_be_read_has_none(store: Store, alice: User) -> None:
    await fill(store, alice)
    await pack(store)
    await store.write(lambda tx: tx.run("UPDATE blobs SET subject = 'other'"))
    assert any("are not those of its messages" in line for line in await store.check())
    await store.write(lambda tx: tx.run("UPDATE summary_texts SET texts = ?", (b"x",)))
    assert any("are damaged" in line for line in await store.check())
    await store.write(lambda tx: tx.run("DELETE FROM summary_texts"))
    await store.write(lambda tx: tx.run("UPDATE summaries SET ids = ?", (b"x",)))
    assert await pack(store) == 1
    assert await pack(store) == 0
    await store.write(lambda tx: tx.run("DELETE FROM summaries"))
