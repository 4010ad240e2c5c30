"""`pillarbox export maildir|mbox`, and the way back: nothing is lost and nothing doubled."""

from __future__ import annotations

from pathlib import Path

import pytest
from transfer_account import ADA, Account

from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, mailboxes, messages
from pillarbox.store.records import NewMessage

BODIES = (
    b"text\r\n",
    b"From the start\r\n>From there\r\n\r\nFrom a Fri Jan  5 10:00:00 2024\r\n",
    b"x" * 400_000 + b"\r\n",
)


@pytest.fixture
def full(ada: Account) -> Account:
    async def fill(store, user_id):  # type: ignore[no-untyped-def]
        for name in ("INBOX", "Work/Töne", "a.b"):
            box = await store.read(mailboxes.find, user_id, name)
            if box is None:
                box = await store.write(mailboxes.create, user_id, name)
            for number, body in enumerate(BODIES):
                raw = f"Subject: {name} {number}\r\n\r\n".encode() + body
                new = NewMessage(blobs.pack(raw), None, analyse(raw))
                words = ("$Forwarded", "b") if number else ()
                await store.write(messages.append, box.id, new, number * 5, words, 1_700_000_000 + number)
            await store.write(messages.store_flags, box.id, [1], "add", 8)
        box = await store.read(mailboxes.find, user_id, "INBOX")
        await store.write(messages.expunge, box.id, [1])

    ada.on_store(fill)
    return ada


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_there_and_back(full: Account, tmp_path: Path, kind: str) -> None:
    done = full.json("export", kind, ADA, tmp_path / "out")
    assert (done["messages"], done["written"], done["known"]) == (8, 8, 0)
    names = ["INBOX", "Work/Töne", "a.b"]
    before = {name: full.mailbox(name) for name in names}
    assert full.run("user", "remove", ADA)[0] == 0
    assert full.run("user", "add", ADA, stdin="correct horse\n")[0] == 0
    back = full.json("import", kind, ADA, tmp_path / "out")
    assert back["stored"] == 8
    if kind == "maildir":
        assert done["warnings"] == ["a.b is in .a_b: a dot separates levels there"]
    for name in names:
        was, found = before[name]
        now, again = full.mailbox("a_b" if (kind, name) == ("maildir", "a.b") else name)
        assert again == found
        assert (now.uidvalidity, now.uidnext) == (was.uidvalidity, was.uidnext)


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_a_second_run_writes_what_is_new(full: Account, tmp_path: Path, kind: str) -> None:
    full.json("export", kind, ADA, tmp_path / "out")
    again = full.json("export", kind, ADA, tmp_path / "out")
    assert (again["written"], again["known"]) == (0, 8)

    async def change(store, user_id):  # type: ignore[no-untyped-def]
        box = await store.read(mailboxes.find, user_id, "INBOX")
        await store.write(messages.store_flags, box.id, [2], "set", 4, ("new",))
        await store.write(messages.store_flags, box.id, [3], "set", 8)
        await store.write(messages.expunge, box.id)
        await store.write(messages.copy, box.id, [2], box.id)

    full.on_store(change)
    again = full.json("export", kind, ADA, tmp_path / "out")
    assert again["messages"] == 8
    assert again["written"] == (1 if kind == "maildir" else 2)  # an mbox is written anew
    assert again["left_over"] == (1 if kind == "maildir" else 0)
    _, found = full.mailbox("INBOX")
    full.json("import", kind, ADA, tmp_path / "out", "--into", "Back")
    _, back = full.mailbox("Back")
    assert [row[1:4] for row in back][: len(found)] == [row[1:4] for row in found]


def test_only_some_mailboxes(full: Account, tmp_path: Path) -> None:
    done = full.json("export", "mbox", ADA, tmp_path / "out", "--mailbox", "a.b")
    assert [row["mailbox"] for row in done["folders"]] == ["a.b"]
    assert [path.name for path in (tmp_path / "out").glob("*.mbox")] == ["a.b.mbox"]
    assert full.run("export", "mbox", ADA, str(tmp_path / "out"), "--mailbox", "Nowhere")[0] == 1


def test_marks_that_came_with_a_message_are_none_of_ours(ada: Account, tmp_path: Path) -> None:
    """In an mbox they would be taken for those of the mailbox: this message for one that is deleted."""
    kept = b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n\r\ntext\r\n"

    async def fill(store, user_id):  # type: ignore[no-untyped-def]
        box = await store.read(mailboxes.find, user_id, "INBOX")
        for raw in (
            b"Subject: first\r\n\r\ntext\r\n",
            b"Status: RO\r\nX-Keywords: a\r\nX-Mozilla-Status: 0008\r\n" + kept,
        ):
            await store.write(messages.append, box.id, NewMessage(blobs.pack(raw), None, analyse(raw)))

    ada.on_store(fill)
    ada.json("export", "mbox", ADA, tmp_path / "out")
    assert ada.json("import", "mbox", ADA, tmp_path / "out", "--into", "Back")["stored"] == 2
    _, (_, back) = ada.mailbox("Back")
    assert (back[1], back[2], back[4]) == (0, (), kept)
