"""The operator restores an older database by hand, as the runbook does: clients must not mistake new mail for old."""

import shutil
import subprocess
import sys

from running import Running


def send(server: Running, subject: str) -> None:
    with server.smtp() as client:
        client.sendmail("a@elsewhere.test", [server.accounts[0][0]], f"Subject: {subject}\r\n\r\nx\r\n".encode())


def inbox(server: Running) -> tuple[int, dict[int, bytes]]:
    """UIDVALIDITY, and the subject line of each message by UID."""
    client = server.imap()
    client.select("INBOX", readonly=True)
    (uidvalidity,) = client.response("UIDVALIDITY")[1]
    client.logout()
    messages = server.messages()
    return int(uidvalidity), {
        uid: line for uid, m in messages.items() for line in m.split(b"\r\n") if line.startswith(b"Subject")
    }


def test_an_older_database_put_back_while_stopped_is_noticed(own, tmp_path):
    database, copy = own.data / "smtp.db", tmp_path / "smtp-backup.db"
    send(own, "one")
    before, _ = inbox(own)
    argv = [sys.executable, "-m", "pillarbox.cli.pillarbox", "backup", "--db", str(database), str(copy)]
    subprocess.run(argv, check=True, capture_output=True)  # while it runs
    send(own, "two")
    assert inbox(own) == (before, {1: b"Subject: one", 2: b"Subject: two"})
    assert own.stop() == 0
    assert not list(own.data.glob("smtp.db-*"))  # else the copy would meet the old one's log

    shutil.copy(copy, database)
    own.start()
    after, subjects = inbox(own)
    assert (after > before, subjects) == (True, {1: b"Subject: one"})
    assert "Database went back in time: new UIDVALIDITY for every mailbox" in own.log.read_text()

    send(own, "three")  # has UID 2, as the lost one had, but under another UIDVALIDITY
    assert inbox(own) == (after, {1: b"Subject: one", 2: b"Subject: three"})
    assert own.stop() == 0
    own.start()
    assert inbox(own)[0] == after  # once and no more
