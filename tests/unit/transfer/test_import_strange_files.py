"""`pillarbox import` of files that somebody else has written: links, pipes, numbers that are none, broken archives."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from transfer_account import ADA, Account
from transfer_samples import lf, maildir, put, raw


def unread(ada: Account, *argv: str | Path) -> list[str]:
    """Import that leaves something out: what it names."""
    status, _, err = ada.run("import", *map(str, argv))
    assert status == 1
    return [line.removeprefix("Not taken in: ") for line in err.splitlines() if line.startswith("Not taken in")]


def test_links_and_pipes_of_a_maildir_are_named_and_not_followed(ada: Account, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(raw("of somebody else"))
    root, other = maildir(tmp_path / "Maildir"), maildir(tmp_path / "other")
    put(root, "1.a:2,S", raw("mine"))
    put(other, "1.b:2,S", raw("theirs"))
    (root / "cur" / "2.link:2,S").symlink_to(secret)
    (root / ".Shared").symlink_to(other)
    os.mkfifo(root / "cur" / "3.pipe:2,S")
    named = unread(ada, "maildir", ADA, root)
    assert sorted(line.rpartition(": ")[2] for line in named) == ["it is a symbolic link"] * 2 + ["it is no file"]
    assert [row[4] for row in ada.mailbox("INBOX")[1]] == [raw("mine")]


def test_a_name_of_a_file_says_nothing_to_the_terminal(ada: Account, tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir")
    put(root, "1.\x1b[31m:2,S", b"")
    assert [line.split("/")[-1] for line in unread(ada, "maildir", ADA, root)] == ["1.?[31m:2,S: it is empty"]


def test_links_and_pipes_among_mbox_and_eml_files(ada: Account, tmp_path: Path) -> None:
    mail, eml = tmp_path / "mail", tmp_path / "eml"
    mail.mkdir()
    eml.mkdir()
    (mail / "one").write_bytes(b"From a@b Mon Jan  1 00:00:00 2024\n" + lf(raw("one")))
    (mail / "link").symlink_to(mail / "one")
    (mail / "around").symlink_to(mail)
    os.mkfifo(mail / "pipe")
    (eml / "one.eml").write_bytes(raw("two"))
    (eml / "nowhere.eml").symlink_to("/nowhere")
    os.mkfifo(eml / "pipe.eml")
    named = unread(ada, "mbox", ADA, mail)
    assert [line.split("/")[-1] for line in named] == [f"{name}: it is a symbolic link" for name in ("around", "link")]
    assert len(unread(ada, "eml", ADA, eml)) == 2
    assert [row[4] for row in ada.mailbox("one")[1]] == [raw("one")]
    assert [row[4] for row in ada.mailbox("INBOX")[1]] == [raw("two")]


def test_a_maildir_without_its_empty_folders(ada: Account, tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir")
    (root / ".Read" / "cur").mkdir(parents=True)
    (root / ".Unread" / "new").mkdir(parents=True)
    put(root / ".Read", "1.a:2,S", raw("read"))
    put(root / ".Unread", "2.b", raw("unread"))
    assert ada.json("import", "maildir", ADA, root)["stored"] == 2
    assert [row[4] for row in ada.mailbox("Read")[1] + ada.mailbox("Unread")[1]] == [raw("read"), raw("unread")]


def test_a_message_without_an_octet_is_none(ada: Account, tmp_path: Path) -> None:
    root = maildir(tmp_path / "Maildir")
    put(root, "1.a:2,S", b"")
    assert [line.split("/")[-1] for line in unread(ada, "maildir", ADA, root)] == ["1.a:2,S: it is empty"]


@pytest.mark.parametrize(
    ("uidlist", "kept"),
    [
        ("3 V1500000000 N99999999999999999999\n5 :1.a\n6 :2.b\n", True),
        (f"3 V1500000000 N{'9' * 5000}\n5 :1.a\n6 :2.b\n", True),
        ("3 V1500000000 N10\n4294967295 :1.a\n6 :2.b\n", False),
        ("3 V1500000000 N4294967295\n5 :1.a\n6 :2.b\n", True),
        ("3 V1500000000 N10\n\u00b2 :1.a\n6 :2.b\n", True),
        (f"3 V{'9' * 5000} N10\n{'9' * 5000} :1.a\n6 :2.b\n", False),
    ],
)
def test_uids_that_are_none(ada: Account, tmp_path: Path, uidlist: str, kept: bool) -> None:
    root = maildir(tmp_path / "Maildir")
    put(root, "1.a:2,S", raw("first"))
    put(root, "2.b:2,a", raw("second"))
    (root / "dovecot-uidlist").write_text(uidlist)
    (root / "dovecot-keywords").write_text(f"\u00b2 what\n{'9' * 5000} what\n0 good\n")
    (folder,) = ada.json("import", "maildir", ADA, root)["folders"]
    assert (folder["stored"], folder["uids_kept"]) == (2, kept)
    box, found = ada.mailbox("INBOX")
    assert box.uidnext <= 1 << 31  # of 32 bits: mail that comes later has UIDs too
    assert {row[2] for row in found} == {(), ("good",)}


def test_numbers_of_an_mbox_that_are_none(ada: Account, tmp_path: Path) -> None:
    source = tmp_path / "box"
    huge = "9" * 5000
    source.write_text(
        f"From a@b Mon Jan  1 00:00:00 2024\nX-IMAP: 1500000000 {huge}\nX-UID: {huge}\nContent-Length: {huge}\n"
        "Subject: a\n\nx\n"
    )
    assert ada.json("import", "mbox", ADA, source)["stored"] == 1


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_takeout_that_is_cut_off(ada: Account, tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"takeout.{kind}"
    data = b"".join(b"From 1@xxx Mon Jan 01 00:00:00 +0000 2024\n" + lf(raw(f"m{at}")) + b"\n" for at in range(9))
    if kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("Mail.mbox", data)
            at = archive.getinfo("Mail.mbox").header_offset + 60
        octets = bytearray(source.read_bytes())
        octets[at] ^= 1  # its checksum is wrong
        source.write_bytes(octets)
    else:
        with tarfile.open(source, "w:gz") as tape:
            info = tarfile.TarInfo("Mail.mbox")
            info.size = len(data)
            tape.addfile(info, io.BytesIO(data))
        source.write_bytes(source.read_bytes()[:150])
    (named,) = unread(ada, "takeout", ADA, source)
    assert named.startswith(f"{source}: the archive is broken: ")


def test_a_folder_is_not_put_where_what_others_share_is(ada: Account, tmp_path: Path) -> None:
    (tmp_path / "eml" / "Other Users").mkdir(parents=True)
    (tmp_path / "eml" / "Other Users" / "a.eml").write_bytes(raw("one"))
    done = ada.json("import", "eml", ADA, tmp_path / "eml")
    assert [folder["mailbox"] for folder in done["folders"]] == ["Other Users_"]
