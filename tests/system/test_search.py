"""The real server feeds its search index, and finds with it and without it."""

import subprocess
import sys
import time

from running import Running


def status(server):
    program = [sys.executable, "-m", "pillarbox.cli.pillarbox", "search", "status"]
    program += ["--db", str(server.data / "smtp.db")]
    return subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()


def found(server, *keys):
    with server.imap() as reader:
        reader.select("INBOX")
        return reader.search(None, *keys)[1][0].split()


def indexed(server, count):
    """Wait until so many messages are in the index, and none waits."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        words = status(server)
        if words == ["Indexed:", str(count), "Waiting:", "0"]:
            return True
        time.sleep(0.2)
    return False


def test_mail_is_found_and_gets_indexed(tmp_path):
    server = Running(tmp_path / "data").start()
    try:
        account = server.accounts[0][0]
        with server.smtp() as client:
            for text in ("How about lunch?", "Dinner then", "A late lunch"):
                client.sendmail("a@b.test", account, f"Subject: x\r\n\r\n{text}\r\n")
        assert found(server, "BODY", "lunch") == [b"1", b"3"]
        assert indexed(server, 3)
        assert found(server, "BODY", "lunch") == [b"1", b"3"]
        assert found(server, "TEXT", '"late lun"') == [b"3"]
        (server.data / "search.db").unlink()
        assert found(server, "BODY", "lunch") == [b"1", b"3"]
        with server.smtp() as client:
            client.sendmail("a@b.test", account, "Subject: x\r\n\r\nlunch again\r\n")
        assert indexed(server, 4)
        assert found(server, "BODY", "lunch") == [b"1", b"3", b"4"]
    finally:
        assert server.stop() == 0
    assert not (server.data / "search.db-wal").exists()
