"""`pillarbox import maildir|mbox|eml|takeout`: folders, flags, dates and UIDs come along, nothing comes twice."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from transfer_account import ADA, Account
from transfer_samples import lf, maildir, put, raw

from pillarbox.store import mailboxes, messages, undelete


@pytest.fixture
def dovecot_mail(tmp_path: Path) -> Path:
    root = maildir(tmp_path / "Maildir")
    put(root, "1.a:2,FRSb", lf(raw("first")), 1_600_000_000)
    put(root, "2.b", raw("second"), 1_600_000_001)
    put(root, "3.c:2,ST", lf(raw("first")), 1_600_000_002)
    (root / "dovecot-uidlist").write_text("3 V1500000000 N40 G0123\n7 :2.b\n5 S12 W13 :1.a\n30 :3.c\n")
    (root / "dovecot-keywords").write_text("0 old\n1 $Work\n")
    (root / "subscriptions").write_text("V\t2\n\nWork\tT&APY-ne\n")
    work = maildir(root / ".Work.T&APY-ne")
    put(work, "9.x:2,D", raw("draft"))
    return root


def test_a_maildir_of_dovecot(ada: Account, dovecot_mail: Path) -> None:
    done = ada.json("import", "maildir", ADA, dovecot_mail)
    assert (done["found"], done["stored"], done["known"]) == (4, 4, 0)
    box, found = ada.mailbox("INBOX")
    assert [row[:4] for row in found] == [
        (5, 7, ("$Work",), 1_600_000_000),
        (7, 0, (), 1_600_000_001),
        (30, 9, (), 1_600_000_002),
    ]
    assert [row[4] for row in found] == [raw("first"), raw("second"), raw("first")]
    assert (box.uidvalidity, box.uidnext) == (1_500_000_000, 40)
    below, (draft,) = ada.mailbox("Work/Töne")
    assert draft[1] == 16
    assert below.subscribed
    again = ada.json("import", "maildir", ADA, dovecot_mail)
    assert (again["found"], again["stored"], again["known"]) == (4, 0, 4)


def test_what_is_new_comes_and_what_was_removed_does_not_come_back(ada: Account, dovecot_mail: Path) -> None:
    ada.json("import", "maildir", ADA, dovecot_mail)

    async def remove(store, user_id):  # type: ignore[no-untyped-def]
        box = await store.read(mailboxes.status, user_id, "INBOX")
        await store.write(messages.store_flags, box.id, [5], "add", 8)
        await store.write(messages.expunge, box.id, [5])
        await store.write(mailboxes.rename, user_id, "Work", "Job")

    ada.on_store(remove)
    put(dovecot_mail, "4.d:2,", raw("new"))
    with (dovecot_mail / "dovecot-uidlist").open("a") as file:
        file.write("41 :4.d\n")
    again = ada.json("import", "maildir", ADA, dovecot_mail)
    assert (again["found"], again["stored"], again["known"]) == (5, 1, 4)
    box, found = ada.mailbox("INBOX")
    assert [row[0] for row in found] == [7, 30, 41]
    assert box.uidvalidity == 1_500_000_000
    assert len(ada.mailbox("Job/Töne")[1]) == 1  # it stays the same mailbox under its new name


def test_uids_that_cannot_be_kept_any_more_mean_a_new_uidvalidity(ada: Account, dovecot_mail: Path) -> None:
    ada.json("import", "maildir", ADA, dovecot_mail)

    async def local(store, user_id):  # type: ignore[no-untyped-def]
        box = await store.read(mailboxes.status, user_id, "INBOX")
        await store.write(messages.copy, box.id, [7, 30], box.id)

    ada.on_store(local)
    put(dovecot_mail, "4.d:2,", raw("new"))
    with (dovecot_mail / "dovecot-uidlist").open("a") as file:
        file.write("40 :4.d\n")
    ada.json("import", "maildir", ADA, dovecot_mail)
    box, found = ada.mailbox("INBOX")
    assert [row[0] for row in found] == [5, 7, 30, 40, 41, 42]
    assert box.uidvalidity != 1_500_000_000


def test_a_broken_run_goes_on(ada: Account, dovecot_mail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pillarbox.transfer import intake

    monkeypatch.setattr(intake, "GROUP", 2)
    calls = 0
    real = intake.imports.take

    def failing(*args):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("pulled the plug")
        return real(*args)

    monkeypatch.setattr(intake.imports, "take", failing)
    assert ada.run("import", "maildir", ADA, str(dovecot_mail))[0] == 1
    monkeypatch.setattr(intake.imports, "take", real)
    done = ada.json("import", "maildir", ADA, dovecot_mail)
    assert (done["stored"], done["known"]) == (3, 1)
    assert [row[0] for row in ada.mailbox("INBOX")[1]] == [5, 7, 30]


def test_quota_ends_it_and_nothing_is_half_done(ada: Account, dovecot_mail: Path) -> None:
    put(dovecot_mail, "8.l:2,", raw("large", "x" * (1 << 20) + "\r\n"))
    assert ada.run("user", "quota", ADA, "1")[0] == 0
    status, _, err = ada.run("import", "maildir", ADA, str(dovecot_mail))
    assert status == 1
    assert "quota" in err
    assert ada.run("user", "quota", ADA, "0")[0] == 0
    assert ada.json("import", "maildir", ADA, dovecot_mail)["not_taken_in"] == 0
    assert len(ada.mailbox("INBOX")[1]) == 4


MBOX = b"""From ada@example.org Fri Jan  5 10:00:00 2024
Subject: one
Status: RO
X-Status: F
X-Keywords: $Work  b

text
>From here it is quoted, and
From there it is not.

>>From twice

From - Sat Jan  6 10:00:00 2024
X-Mozilla-Status: 0009
Subject: deleted in Thunderbird

gone

From 123@xxx Sat Jan 06 10:00:00 +0100 2024
Subject: two
Content-Length: 62

From ada@example.org Fri Jan  5 10:00:00 2024

looks like one

"""


def test_an_mbox(ada: Account, tmp_path: Path) -> None:
    (tmp_path / "Old mail.mbox").write_bytes(MBOX)
    done = ada.json("import", "mbox", ADA, tmp_path / "Old mail.mbox")
    assert (done["found"], done["stored"]) == (2, 2)
    _, (one, two) = ada.mailbox("Old mail")
    assert one[1:4] == (5, ("$Work", "b"), 1704448800)
    assert one[4] == (
        b"Subject: one\r\n\r\ntext\r\nFrom here it is quoted, and\r\nFrom there it is not.\r\n\r\n>From twice\r\n"
    )
    assert two[3] == 1704531600
    assert two[4].endswith(b"\r\n\r\nFrom ada@example.org Fri Jan  5 10:00:00 2024\r\n\r\nlooks like one\r\n")
    # The same mail with other line ends is the same mail.
    (tmp_path / "Old mail.mbox").write_bytes(
        MBOX.replace(b"\n", b"\r\n").replace(b"Content-Length: 62", b"Content-Length: 65")
    )
    assert ada.json("import", "mbox", ADA, tmp_path / "Old mail.mbox")["known"] == 2


def test_a_tree_of_mbox_files_and_what_is_none(ada: Account, tmp_path: Path) -> None:
    root = tmp_path / "Mail"
    (root / "Work.sbd").mkdir(parents=True)
    (root / "Inbox").write_bytes(MBOX)
    (root / "Inbox.msf").write_bytes(b"// index")
    (root / "Work.sbd" / "2024").write_bytes(MBOX)
    done = ada.json("import", "mbox", ADA, root, "--into", "Import")
    assert {row["mailbox"]: row["stored"] for row in done["folders"]} == {"Import": 2, "Import/Work/2024": 2}
    assert ada.run("import", "mbox", ADA, str(tmp_path / "nothing"))[0] == 1
    (root / "broken").write_bytes(b"no mbox at all")
    status, _, err = ada.run("import", "mbox", ADA, str(root / "broken"))
    assert status == 1
    assert "does not begin with a From line" in err


def test_the_same_mail_twice_in_one_folder_is_two_messages(ada: Account, tmp_path: Path) -> None:
    one = b"From a Fri Jan  5 10:00:00 2024\nSubject: x\n\ntext\n\n"
    (tmp_path / "x.mbox").write_bytes(one * 3)
    assert ada.json("import", "mbox", ADA, tmp_path / "x.mbox")["stored"] == 3
    (tmp_path / "x.mbox").write_bytes(one * 4)
    assert ada.json("import", "mbox", ADA, tmp_path / "x.mbox")["stored"] == 1


def test_eml_files(ada: Account, tmp_path: Path) -> None:
    (tmp_path / "mail" / "Lists").mkdir(parents=True)
    dated = b"Received: from a by b; Fri, 5 Jan 2024 10:00:00 +0000\nDate: Thu, 4 Jan 2024 10:00:00 +0000\n" + lf(
        raw("x")
    )
    (tmp_path / "mail" / "a.eml").write_bytes(dated)
    (tmp_path / "mail" / "Lists" / "b.EML").write_bytes(raw("y"))
    (tmp_path / "mail" / "Lists" / "empty.eml").write_bytes(b"")
    status, out, err = ada.run("import", "eml", ADA, str(tmp_path / "mail"))
    assert status == 1
    assert "empty.eml: it is empty" in err
    assert "2 messages found: 2 stored" in out
    _, (one,) = ada.mailbox("INBOX")
    assert one[1:4] == (1, (), 1704448800)
    assert len(ada.mailbox("Lists")[1]) == 1


def takeout_mbox() -> bytes:
    pieces = []
    for number, labels in enumerate(
        ("Inbox,Important,Unread", "Sent,Opened,Work/Plans", "Archived,Starred,Category Updates", "Spam,Work/Plans",
         '=?UTF-8?Q?Posteingang,Ungelesen,T=C3=B6ne?=', '"a, b",Work/Plans')
    ):  # fmt: skip
        head = f"From 12{number}@xxx Fri Jan 05 10:00:0{number} +0000 2024\r\nX-GM-THRID: 12{number}\r\n"
        pieces.append(f"{head}X-Gmail-Labels: {labels}\r\nSubject: m{number}\r\n\r\ntext\r\n\r\n".encode())
    return b"".join(pieces)


@pytest.mark.parametrize("kind", ["folder", "zip", "tgz", "mbox"])
def test_takeout(ada: Account, tmp_path: Path, kind: str) -> None:
    inside = "Takeout/Mail/All mail Including Spam and Trash.mbox"
    place = tmp_path / f"takeout.{kind}"
    if kind == "folder":
        (place / inside).parent.mkdir(parents=True)
        (place / inside).write_bytes(takeout_mbox())
    elif kind == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr(inside, takeout_mbox())
    elif kind == "tgz":
        with tarfile.open(place, "w:gz") as tape:
            info = tarfile.TarInfo(inside)
            info.size = len(takeout_mbox())
            tape.addfile(info, io.BytesIO(takeout_mbox()))
    else:
        place.write_bytes(takeout_mbox())
    done = ada.json("import", "takeout", ADA, place)
    counts = {row["mailbox"]: row["stored"] for row in done["folders"]}
    assert counts == {"INBOX": 2, "Sent": 1, "Work/Plans": 2, "Archive": 1, "Junk": 1, "Töne": 1, "a, b": 1}
    assert [row[1:3] for row in ada.mailbox("INBOX")[1]] == [(0, ("$Important",)), (0, ())]
    assert [row[1] for row in ada.mailbox("Archive")[1]] == [5]
    assert ada.mailbox("Sent")[1][0][4] == ada.mailbox("Work/Plans")[1][0][4]
    assert ada.json("import", "takeout", ADA, place)["stored"] == 0


def test_a_deleted_mailbox_is_taken_in_anew(ada: Account, tmp_path: Path) -> None:
    (tmp_path / "x.mbox").write_bytes(MBOX)
    assert ada.json("import", "mbox", ADA, tmp_path / "x.mbox")["stored"] == 2
    assert ada.run("mailbox", "remove", ADA, "x")[0] == 0
    assert ada.json("import", "mbox", ADA, tmp_path / "x.mbox")["stored"] == 2

    async def purge(store, user_id):  # type: ignore[no-untyped-def]
        while await store.write(mailboxes.purge_deleted):
            pass
        return await store.scan(undelete.deleted_mailboxes, user_id)

    assert ada.on_store(purge) == []
