"""`pillarbox undelete` on a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, check_store, mailboxes, messages, open_store
from pillarbox.store.records import Delivery, NewMessage

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    assert run("user", "add", "ada@example.com", stdin="correct horse\n")[0] == 0
    return run


def answer(outcome: tuple[int, str, str]) -> Any:
    status, out, err = outcome
    assert status == 0, err
    return json.loads(out)


def fill(path: Path, *subjects: str) -> None:
    """Messages that come into INBOX and are expunged."""

    async def work() -> None:
        store = await open_store(path)
        for subject in subjects:
            raw = f"Subject: {subject}\r\n\r\ntext\r\n".encode()
            new = NewMessage(blobs.pack(raw), None, analyse(raw))
            await store.write(messages.deliver, new, [Delivery("ada@example.com", 1, flags=8)])
        box = await store.read(mailboxes.status, 1, "INBOX")
        await store.write(messages.expunge, box.id)
        await store.close()

    asyncio.run(work())


def test_messages_come_back(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "lunch", "invoice")
    rows = answer(run("undelete", "list", "ada@example.com", "--json"))
    assert [(row["mailbox"], row["subject"]) for row in rows] == [("INBOX", "lunch"), ("INBOX", "invoice")]
    assert "invoice" in run("undelete", "list", "ada@example.com", "inbox", "--since", "1h")[1]
    wanted = str(rows[1]["id"])
    status, out, _ = run("undelete", "message", "ada@example.com", wanted)
    assert (status, out) == (0, "1 message came back\n")
    status, _, err = run("undelete", "message", "ada@example.com", wanted)
    assert status == 1
    assert f"no expunged message {wanted} that could come back" in err
    assert run("undelete", "message", "ada@example.com", str(rows[0]["id"]), "--into", "Found/again")[0] == 0
    boxes = {box["name"]: box["messages"] for box in answer(run("mailbox", "list", "ada@example.com", "--json"))}
    assert (boxes["INBOX"], boxes["Found/again"]) == (1, 1)
    assert check_store(tmp_path / "smtp.db") == []


def test_a_subject_says_nothing_to_the_terminal(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "=?utf-8?q?=1B[31mred=1B[0m_=C2=9B2J?=")
    assert "?[31mred?[0m ?2J" in run("undelete", "list", "ada@example.com")[1]
    (row,) = answer(run("undelete", "list", "ada@example.com", "--json"))
    assert row["subject"] == "\x1b[31mred\x1b[0m \x9b2J"


def test_a_mailbox_comes_back(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "one", "two")
    assert run("undelete", "mailbox", "ada@example.com", "INBOX")[1] == "2 messages came back in INBOX\n"
    assert run("undelete", "mailbox", "ada@example.com", "INBOX")[1] == "0 messages came back in INBOX\n"
    assert run("mailbox", "rename", "ada@example.com", "INBOX", "Work")[0] == 0
    assert run("mailbox", "remove", "ada@example.com", "Work")[0] == 0
    (gone,) = answer(run("undelete", "mailboxes", "ada@example.com", "--json"))
    assert (gone["mailbox"], gone["messages"]) == ("Work", 2)
    assert run("undelete", "mailbox", "ada@example.com", "Work")[1] == "2 messages came back in Work\n"
    assert run("undelete", "mailbox", "ada@example.com", "Nowhere")[::2] == (1, "Error: there was no mailbox Nowhere\n")
    assert run("undelete", "mailbox", "ada@example.com", "INBOX", "--at", "yesterday")[0] == 2
    assert run("undelete", "mailbox", "ada@example.com", "INBOX", "--at", "1h", "--since", "1h")[0] == 2
    assert check_store(tmp_path / "smtp.db") == []


def test_a_deleted_mailbox_whose_name_another_one_has_is_named(run: Run, tmp_path: Path) -> None:
    for verb in ("add", "remove", "add"):
        assert run("mailbox", verb, "ada@example.com", "Work")[0] == 0
    status, out, err = run("undelete", "mailbox", "ada@example.com", "Work")
    assert (status, out) == (0, "0 messages came back in Work\n")
    assert err.startswith("Note: another Work with 0 messages was deleted at 2")
    assert run("undelete", "mailbox", "ada@example.com", "INBOX")[2] == ""


def test_nothing_comes_back_where_what_others_share_is(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "lunch")
    for into in ("Other Users", "Other Users/bob"):
        status, _, err = run("undelete", "mailbox", "ada@example.com", "INBOX", "--into", into)
        assert (status, err) == (1, "Error: below Other Users is what others share\n")
    assert run("mailbox", "add", "ada@example.com", "Other Users/x")[0] == 1
    assert run("mailbox", "rename", "ada@example.com", "Sent", "Other Users/x")[0] == 1
    assert run("mailbox", "add", "ada@example.com", "Other Users2")[0] == 0


def test_the_state_of_a_moment_goes_into_a_new_mailbox(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "one")
    assert run("undelete", "mailbox", "ada@example.com", "INBOX", "--at", "1h")[0] == 1  # there was no account yet
    assert run("undelete", "mailbox", "ada@example.com", "INBOX", "--at", "2000-01-01", "--into", "Then")[0] == 1
    assert "Then" not in run("mailbox", "list", "ada@example.com")[1]  # all or nothing


def test_an_account_as_it_was(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "one")
    assert run("undelete", "mailbox", "ada@example.com", "INBOX")[0] == 0
    assert run("mailbox", "rename", "ada@example.com", "INBOX", "Work")[0] == 0
    rows = answer(run("undelete", "account", "ada@example.com", "--at", "0s", "--into", "Now", "--json"))
    assert {row["mailbox"]: row["messages"] for row in rows if row["messages"]} == {"Now/Work": 1}
    assert "Now/INBOX" in {row["mailbox"] for row in rows}
    # Nothing is mixed with what is there.
    assert run("undelete", "account", "ada@example.com", "--at", "0s", "--into", "Now")[0] == 1
    assert "had no mailboxes then" in run("undelete", "account", "ada@example.com", "--at", "1h", "--into", "Old")[2]
    assert "Old" not in run("mailbox", "list", "ada@example.com")[1]
    assert check_store(tmp_path / "smtp.db") == []


def test_flags_of_a_moment(run: Run, tmp_path: Path) -> None:
    fill(tmp_path / "smtp.db", "one")
    status, out, _ = run("undelete", "mailbox", "ada@example.com", "INBOX", "--at", "0s", "--flags")
    assert (status, out) == (0, "0 messages came back in INBOX, 0 messages there got the flags of then\n")
    for more in (["--flags"], ["--flags", "--at", "0s", "--into", "X"]):
        assert run("undelete", "mailbox", "ada@example.com", "INBOX", *more)[0] == 2
