"""Reports as another program reads them."""

import email
import email.policy

from pillarbox.flow.report import Reported, Told, render

MESSAGE = b"From: ada@example.org\r\nSubject: =?utf-8?q?h=C3=B6?=\r\n\r\nbody\r\n"


def report(*told, full=False, head=MESSAGE, whole=True, sender="ada@example.org"):
    reported = Reported("0ABC", sender, "env+1", full, 1_700_000_000, head, whole)
    return render(reported, list(told), "mx.example.com")


def parsed(data):
    assert b"\n" not in data.replace(b"\r\n", b"")
    return email.message_from_bytes(data, policy=email.policy.SMTP)


def test_a_failure_report_has_the_three_parts_of_rfc_3462():
    message = parsed(report(Told("bob@example.com", "failed", "5.2.2", "the mailbox is full", "rfc822;b@x")))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["to"].addresses[0].addr_spec == "ada@example.org"
    assert message["auto-submitted"] == "auto-replied"
    text, status, headers = message.get_payload()
    assert "bob@example.com" in text.get_content()
    assert status.get_content_type() == "message/delivery-status"
    whole, recipient = status.get_payload()
    assert whole["Original-Envelope-Id"] == "env+1"
    assert whole["Reporting-MTA"] == "dns; mx.example.com"
    assert recipient["Final-Recipient"] == "rfc822; bob@example.com"
    assert recipient["Original-Recipient"] == "rfc822;b@x"
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.2.2")
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "Subject" in headers.get_payload()
    assert "body" not in headers.get_payload()


def test_ret_full_returns_the_message_when_it_is_at_hand():
    told = Told("bob@example.com", "failed", "5.2.2", "full")
    last = parsed(report(told, full=True)).get_payload()[-1]
    assert last.get_content_type() == "message/rfc822"
    assert last.get_payload()[0].get_payload() == "body\r\n"
    last = parsed(report(told, full=True, whole=False)).get_payload()[-1]
    assert last.get_content_type() == "text/rfc822-headers"


def test_success_says_delivered():
    message = parsed(report(Told("bob@example.com", "delivered", "2.0.0", "delivered to the mailbox")))
    assert message["subject"] == "Successful Mail Delivery Report"
    assert message.get_payload()[1].get_payload()[1]["Action"] == "delivered"


def test_addresses_beyond_ascii_make_it_a_global_report():
    data = report(Told("bjørn@example.com", "failed", "5.1.1", "no such user"))
    message = parsed(data)
    assert message.get_param("report-type") == "global-delivery-status"
    assert "utf-8; bjørn@example.com".encode() in data


def test_eight_bit_headers_are_declared():
    last = parsed(report(Told("b@x", "failed", "5.1.1", "no"), head="Subject: hö\r\n\r\n".encode())).get_payload()[-1]
    assert last["content-transfer-encoding"] == "8bit"


def test_the_same_arguments_give_the_same_octets():
    told = Told("bob@example.com", "failed", "5.2.2", "full")
    assert report(told) == report(told)
