"""NOTIFY with real workers: whoever takes the message in, every session that listens is told at once."""

import re
import smtplib
import time

from running import Running

LISTENERS = 6  # the kernel spreads them over both workers
AT_ONCE = 0.5  # seconds; a lost hint would take one, and both CPUs may be busy with other tests


class Listener:
    """An IMAP session that listens between its commands."""

    def __init__(self, server, account=0):
        self.client = server.imap(account)

    def notify(self, specification):
        """Everything up to the tagged response."""
        self.client.send(f"n NOTIFY SET {specification}\r\n".encode())
        while not (line := self.line()).startswith(b"n "):
            continue
        return line

    def line(self, seconds=10):
        """The next line, without having asked for it."""
        self.client.sock.settimeout(seconds)
        return self.client.readline().rstrip().removeprefix(b"* ")


def test_every_listener_is_told_at_once(tmp_path):
    server = Running(tmp_path / "data").start()
    try:
        listeners = [Listener(server) for _ in range(LISTENERS)]
        for one in listeners:
            told = one.notify("(personal (MessageNew MessageExpunge MailboxName SubscriptionChange))")
            assert told == b"n OK NOTIFY completed"
        for n in range(1, 4):
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"], local_hostname="client.test", timeout=60) as client:
                client.sendmail("a@b.test", server.accounts[0][0], f"Subject: {n}\r\n\r\nhi\r\n")
                accepted = time.monotonic()
            for one in listeners:
                assert re.match(rb"STATUS INBOX \(MESSAGES %d UIDNEXT %d " % (n, n + 1), one.line())
            assert time.monotonic() - accepted < AT_ONCE
        other = server.imap()
        for command, told in (
            (lambda: other.create("Projects"), b'LIST (\\HasNoChildren) "/" Projects'),
            (lambda: other.rename("Projects", "Work"), b'LIST (\\HasNoChildren) "/" Work ("OLDNAME" (Projects))'),
            (lambda: other.subscribe("Work"), b'LIST (\\HasNoChildren \\Subscribed) "/" Work'),
            (lambda: other.delete("Work"), b'LIST (\\NonExistent \\Subscribed) "/" Work'),
        ):
            assert command()[0] == "OK"
            for one in listeners:
                assert one.line() == told
        for one in (*(one.client for one in listeners), other):
            one.shutdown()
    finally:
        assert server.stop() == 0
    server.check()
