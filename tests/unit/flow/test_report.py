"""Reports as another program reads them."""

import email
import email.policy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("address", "head", "encoding"),
    [
        ("nobody@example.com", MESSAGE, None),
        ("nobody@example.com", b"Subject: gr\xfc\xdfe\r\n\r\n", "8bit"),
        ("j\u00fcrgen@example.com", MESSAGE, "8bit"),
    ],
)
def test_the_whole_report_is_declared_8_bit_where_a_part_is(address, head, encoding):
    data = report(Told(address, "failed", "5.1.1", "no"), head=head)
    assert parsed(data)["content-transfer-encoding"] == encoding
    assert data.isascii() == (encoding is None)


def test_the_same_arguments_give_the_same_octets():
    told = Told("bob@example.com", "failed", "5.2.2", "full")
    assert report(told) == report(told)


LATER = 1_700_100_000
SOME = st.text(max_size=2000)


def remote(action="failed", **more):
    return Told(
        "bob@example.net",
        action,
        "5.1.1",
        "",
        host="mx.example.net",
        place="192.0.2.1:25",
        said="550 5.1.1 no such user",
        stage="RCPT",
        last_attempt=LATER,
        **more,
    )


def test_the_servers_words_are_quoted_with_its_name():
    message = parsed(report(remote(log_id="0ABC.7")))
    text, status, _ = message.get_payload()
    assert "mx.example.net (192.0.2.1:25) said when it was told this recipient:" in text.get_content()
    told = status.get_payload()[1]
    assert told["Remote-MTA"] == "dns; mx.example.net"
    assert told["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert told["Final-Log-ID"] == "0ABC.7"
    assert told["Last-Attempt-Date"].startswith("Thu, 16 Nov 2023")


def test_a_delay_report_says_until_when_and_never_brings_the_message_back():
    told = remote("delayed", retry_until=LATER + 86_400)
    message = parsed(report(told, full=True))
    assert message["subject"].startswith("Delayed")
    text, status, returned = message.get_payload()
    assert status.get_payload()[1]["Will-Retry-Until"].startswith("Fri, 17 Nov 2023")
    assert "you need not send it again" in text.get_content()
    assert returned.get_content_type() == "text/rfc822-headers"


def test_words_beyond_ascii_are_quoted_printable_and_the_fields_ascii():
    told = remote()._replace(said="550 5.1.1 existiert nicht, schöne Grüße")
    data = report(told)
    assert data.isascii()
    text, status, _ = parsed(data).get_payload()
    assert "schöne Grüße" in text.get_content()
    assert status.get_payload()[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 existiert nicht, sch?ne Gr??e"


@pytest.mark.parametrize(
    ("host", "name"),
    [("192.0.2.1", "[192.0.2.1]"), ("2001:db8::1", "[IPv6:2001:db8::1]"), ("[192.0.2.1]", "[192.0.2.1]")],
)
def test_a_host_without_a_name_is_named_by_its_address_in_brackets(host, name):
    (recipient,) = parsed(report(remote()._replace(host=host))).get_payload()[1].get_payload()[1:]
    assert recipient["Remote-MTA"] == f"dns; {name}"


def test_what_is_no_text_comes_back_as_a_header_alone():
    for bad in (b"Subject: x\r\n\r\n\0", b"Subject: x\r\n\r\na\nb", b"Subject: x\r\n\r\na\rb"):
        last = parsed(report(remote(), full=True, head=bad)).get_payload()[-1]
        assert last.get_content_type() == "text/rfc822-headers"
    assert b"Subject: a b" in report(remote(), head=b"Subject: a\0b\r\n\r\n")


@given(SOME, SOME, SOME, SOME, st.binary(max_size=500))
@example("x" * 3000, "h" * 3000, "o" * 3000, "e" * 100, b"")
def test_nothing_from_outside_breaks_the_report(said, host, orcpt, envid, head):
    told = remote()._replace(said=said, host=host, orcpt=f"rfc822;{orcpt}", reason=said)
    reported = Reported("0ABC", "ada@example.org", envid, True, LATER, head, True, LATER, "1.")
    data = render(reported, [told, remote("delayed")], "mx.example.com")
    lines = data.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    assert len(message.get_payload()) == 3
    status = message.get_payload()[1]
    if status.get_content_type() == "message/delivery-status":
        _, first, second = status.get_payload()
        assert (first["Action"], second["Action"]) == ("failed", "delayed")
        assert data[: data.index(b"\r\n\r\n--", data.index(b"Reporting-MTA"))].isascii()
