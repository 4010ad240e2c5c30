"""`pillarbox try --accept-all`: the developer's test inbox."""

import imaplib

from running import Running


def test_any_recipient_gets_a_mailbox_that_can_be_read(tmp_path):
    server = Running(tmp_path / "data", "--accept-all").start()
    try:
        with server.smtp() as client:
            refused = client.sendmail(
                "app@under.test", ["new@some.where", "Else@other.test"], "Subject: x\r\n\r\nhi\r\n"
            )
        assert refused == {}
        for username in ("new@some.where", "Else@other.test"):
            reader = imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=server.tls())
            reader.login(username, server.accounts[0][1])
            assert reader.select("INBOX")[1] == [b"1"]
            reader.logout()
    finally:
        assert server.stop() == 0


def test_the_same_folder_keeps_accounts_and_mail(tmp_path):
    server = Running(tmp_path / "data").start()
    before = server.accounts
    with server.smtp() as client:
        client.sendmail("a@b.test", before[0][0], "Subject: kept\r\n\r\nhi\r\n")
    assert server.ready["pid"] == server.process.pid
    assert server.stop() == 0
    server.start()
    try:
        assert server.accounts == before
        assert [b"Subject: kept" in message for message in server.messages().values()] == [True]
    finally:
        assert server.stop() == 0
