"""Mail between Pillarbox, Postfix and Exim, found by the DNS: there, back, and what comes back when it cannot go."""

import json
import re
import smtplib
import ssl
import subprocess
import uuid
from email import message_from_bytes

import pytest

from world_server import ADA, BOB, PASSWORD, arrived, within


def test_to_postfix_over_tls(ours, postfix):
    message = arrived(postfix, ours.submit("u@postfix.example"))
    assert b"with ESMTPS" in message
    assert b"from mx.ours.example (" in message
    within(10, lambda: not ours.queue(), f"the queue is not empty: {ours.queue()}")


def test_to_exim(ours, exim):
    assert b"by mx.exim.example" in arrived(exim, ours.submit("u@exim.example"))


def test_postfix_sends_to_us(ours, postfix):
    postfix.send("v@postfix.example", ADA, "Subject: hello from postfix\n\nbody\n")
    found = within(
        30,
        lambda: [m for m in ours.inbox() if m["Subject"] == "hello from postfix"],
        "it did not come: " + ours.words(),
    )
    assert len(found) == 1
    assert "with ESMTPS" in found[0]["Received"]


def test_a_large_message_with_8_bit_text(ours, postfix, exim, tmp_path):
    body = "Grüße — ".encode() * 20_000
    lines = b"\r\n".join(body[at : at + 900] for at in range(0, len(body), 900))
    (tmp_path / "body").write_bytes(lines)
    for peer, recipient in ((postfix, "u@postfix.example"), (exim, "u@exim.example")):
        message = arrived(peer, ours.submit(recipient, "--body", f"@{tmp_path / 'body'}"))
        content = message_from_bytes(message).get_payload(decode=True)
        assert isinstance(content, bytes)
        assert content.split() == lines.split()


def test_both_recipients_of_one_destination_in_one_transaction(ours, postfix):
    subject = ours.submit("u@postfix.example,v@postfix.example")
    first = arrived(postfix, subject, "u")
    second = arrived(postfix, subject, "v")
    queue_id = re.compile(rb"with ESMTPS id (\w+)")
    assert queue_id.search(first)[1] == queue_id.search(second)[1]


def test_the_second_mx_when_the_first_is_dead(ours, postfix):
    ours.submit("u@second.example")
    # The second MX is Postfix, which refuses to relay: its words prove that it was asked.
    assert "Relay access denied" in ours.report_on("u@second.example").as_string()


def test_a_bounce_says_what_the_other_server_said(ours, postfix):
    ours.submit("nobody-there@postfix.example")
    report = ours.report_on("nobody-there@postfix.example")
    text, status, returned = report.iter_parts()
    assert "nobody-there@postfix.example" in text.get_content()
    fields = status.as_string()
    assert re.search(r"^Action: failed$", fields, re.MULTILINE)
    assert re.search(r"^Status: 5\.1\.1$", fields, re.MULTILINE)
    assert re.search(r"^Remote-MTA: dns; ?mx\.postfix\.example$", fields, re.MULTILINE | re.IGNORECASE)
    assert "User unknown" in fields
    assert returned.get_content_type() in ("text/rfc822-headers", "message/rfc822")
    assert report["Auto-Submitted"] == "auto-replied"


@pytest.mark.parametrize(
    ("recipient", "status"),
    [("x@null.example", "5.1.10"), ("x@no-such-domain.example", "5.1.2")],
)
def test_domains_that_take_no_mail_come_back_at_once(ours, recipient, status):
    ours.submit(recipient)
    assert f"Status: {status}" in ours.report_on(recipient).as_string()


def test_an_answer_that_does_not_validate_is_a_reason_to_wait(ours, postfix):
    subject = ours.submit("u@bogus.example")
    within(20, lambda: any(r[0] == "u@bogus.example" and r[1] == "retry" for r in ours.queue()), str(ours.queue()))
    assert not any(subject.encode() in m for m in postfix.mail("u"))
    ours.run("pillarbox", "queue", "delete", "--recipient", "u@bogus.example")


def test_a_report_of_success_is_asked_for(ours, postfix):
    """Postfix offers DSN, so that it takes the promise over and reports itself."""
    subject = f"test-{uuid.uuid4().hex}"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP_SSL("127.0.0.1", 465, context=context, timeout=30) as client:
        client.login(ADA, PASSWORD)
        message = f"From: {ADA}\r\nSubject: {subject}\r\n\r\nbody\r\n"
        client.sendmail(ADA, ["u@postfix.example"], message, rcpt_options=["NOTIFY=SUCCESS,FAILURE"])
    arrived(postfix, subject)
    report = ours.report_on(subject)
    assert "Action: delivered" in report.as_string()
    assert report["From"].addresses[0].domain == "mx.postfix.example"


def test_an_alias_to_outside_and_its_bounce(ours, postfix):
    """The sender's domain has a strict SPF, so the envelope sender is ours, and what bounces finds its way back."""
    ours.run("pillarbox", "alias", "add", "away@ours.example", "u@postfix.example")
    ours.run("pillarbox", "alias", "add", "gone@ours.example", "nobody-there@postfix.example")
    for recipient in ("away@ours.example", "gone@ours.example"):
        argv = ["swaks", "--server", "127.0.0.1:25", "--from", "x@strict.example", "--to", recipient]
        subprocess.run([*argv, "--header", f"Subject: {recipient}"], check=True, capture_output=True, timeout=60)
    message = arrived(postfix, "away@ours.example")
    assert re.match(rb"Return-Path: <SRS0=[^@]+=strict\.example=x@ours\.example>", message)
    # The report on the other goes to x@strict.example, whose MX refuses it: a dead letter, kept and listed.
    within(30, lambda: ("x@strict.example", "failed") in {r[:2] for r in ours.queue()}, ours.words())
    assert "x@strict.example" in ours.run("pillarbox", "queue", "list", "--status", "failed")
    ours.run("pillarbox", "queue", "delete", "--recipient", "x@strict.example")


def test_mail_from_one_account_to_another_stays_here(ours):
    subject = ours.submit(BOB)
    within(10, lambda: any(m["Subject"] == subject for m in ours.inbox(BOB)), "it did not come")
    assert not ours.queue()


def test_trace_tells_the_story(ours, postfix):
    subject = ours.submit("u@postfix.example")
    arrived(postfix, subject)
    latest = json.loads(ours.run("pillarbox", "trace", "u@postfix.example", "--json"))
    message_id = latest[0]["message_key"]
    story = within(10, lambda: _ended(ours.run("pillarbox", "trace", message_id)), "it has no end")
    for part in ("mx.postfix.example", "127.0.0.11", "TLS 1.3", ADA):
        assert part in story


def _ended(story: str) -> str:
    return story if "2.0.0" in story else ""


def test_msmtp_submits_by_starttls(ours, exim, tmp_path):
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport 587\ntls on\ntls_certcheck off\nauth scram-sha-256\n"
        f"user {ADA}\npassword {PASSWORD}\nfrom {ADA}\n"
    )
    config.chmod(0o600)
    message = f"From: {ADA}\nTo: u@exim.example\nSubject: by msmtp\n\nbody\n"
    argv = ["msmtp", "-C", str(config), "u@exim.example"]
    subprocess.run(argv, input=message, text=True, check=True, capture_output=True, timeout=60)
    assert b"Message-ID:" in arrived(exim, "by msmtp")
