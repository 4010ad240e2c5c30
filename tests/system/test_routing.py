"""Two running servers: what an alias, a list and a rule of the one send on arrives at the other."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
import time
from email import message_from_bytes

import pytest

from running import Running


@pytest.fixture
def near_and_far(tmp_path):
    """The far one takes mail for everybody; the near one knows it as its smarthost."""
    far = Running(tmp_path / "far", "--accept-all").start()
    near = Running(tmp_path / "near").start()
    try:
        pillarbox(near, "routes", "add", "far", "smarthost", "--host", "127.0.0.1", "--port", str(far.ports["smtp"]))
        pillarbox(near, "routes", "use", "far", "--for", "*")
        yield near, far
    finally:
        for running in (near, far):
            assert running.stop() == 0
            running.check()


def pillarbox(running, *words):
    argv = [sys.executable, "-m", "pillarbox.cli.pillarbox", *words, "--db", str(running.data / "smtp.db")]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def inbox(running, address, count=1, seconds=30):
    """The messages of an account, once there are so many. It has the password of the first account."""
    end = time.monotonic() + seconds
    while True:
        client = Running.imap(As(running, address))
        client.select("INBOX", readonly=True)
        found = [item[1] for item in client.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(item, tuple)]
        client.logout()
        if len(found) >= count:
            return [message_from_bytes(body) for body in found]
        assert time.monotonic() < end, f"{len(found)} of {count} messages for {address}"
        time.sleep(0.2)


class As:
    """A running server whose only account is another."""

    def __init__(self, running, address):
        self.tls, self.ports = running.tls, running.ports
        self.accounts = [(address, running.accounts[0][1])]


def wait_for_account(running, address, seconds=30):
    end = time.monotonic() + seconds
    while address not in [user["username"] for user in json.loads(pillarbox(running, "user", "list", "--json"))]:
        assert time.monotonic() < end, f"nothing came for {address}"
        time.sleep(0.2)


def test_aliases_lists_and_rules_reach_the_next_server(near_and_far):
    near, far = near_and_far
    ours = near.accounts[0][0]
    domain = ours.rpartition("@")[2]
    pillarbox(near, "alias", "add", f"away@{domain}", "carl@far.example")
    pillarbox(near, "list", "create", f"team@{domain}", "--owner", ours, "--posting", "anyone")
    pillarbox(near, "list", "add", f"team@{domain}", ours, "carl@far.example", "dora@far.example")
    pillarbox(near, "routes", "use", "far", "--for", "behind.example", "--accept")
    said = json.loads(pillarbox(near, "route", f"away@{domain}", "--from", "eve@else.example", "--json"))
    assert said["next_hops"][0]["place"] == f"127.0.0.1:{far.ports['smtp']}"
    with near.smtp() as client:
        client.sendmail("eve@else.example", f"away@{domain}", "Subject: alias\r\n\r\nhello\r\n")
        client.sendmail("eve@else.example", f"team@{domain}", "Subject: list\r\n\r\nhello\r\n")
        client.sendmail("eve@else.example", "emil@behind.example", "Subject: behind\r\n\r\nhello\r\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.7\.1"):
            client.sendmail("eve@else.example", "emil@far.example", "Subject: no\r\n\r\nhello\r\n")
    for address in ("carl@far.example", "dora@far.example", "emil@behind.example"):
        wait_for_account(far, address)
    by_subject = {message["Subject"]: message for message in inbox(far, "carl@far.example", 2)}
    assert f"away@{domain}" in by_subject["alias"].get_all("Delivered-To")
    assert by_subject["list"]["List-Id"] == f"<team.{domain}>"
    assert by_subject["list"]["Return-Path"] == f"<team-bounces@{domain}>"
    (hers,) = inbox(far, "dora@far.example")
    assert hers["Return-Path"] == f"<team-bounces@{domain}>"
    (his,) = inbox(far, "emil@behind.example")
    assert (his["Return-Path"], his["Delivered-To"]) == ("<eve@else.example>", "emil@behind.example")
    (own,) = [mail for mail in near.messages().values() if b"List-Id:" in mail]
    assert b"Subject: list" in own
    end = time.monotonic() + 30
    while json.loads(pillarbox(near, "queue", "list", "--json")):
        assert time.monotonic() < end
        time.sleep(0.2)
