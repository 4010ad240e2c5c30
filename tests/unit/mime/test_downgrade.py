"""A message encoded anew for a server that takes no 8-bit content: what the recipient decodes is what was sent."""

import email
import email.policy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from encoded_anew import made
from pillarbox.mime.downgrade import Untouchable, has_ascii_headers, plan_downgrade, plan_storage, structure
from pillarbox.mime.encoder import Base64Encoder, QuotedPrintableEncoder
from pillarbox.mime.transfer import decode_transfer


def reading(message):
    return lambda start, length: message[start : start + length]


def downgraded(message, *, eight_bit=False):
    """The message as it is sent."""
    return made(message, plan_downgrade(len(message), reading(message), eight_bit=eight_bit))


def stored(message):
    """The message as a mailbox holds it."""
    return made(message, plan_storage(len(message), reading(message)))


def leaves(message):
    """Type and decoded content of every leaf, by our reading."""

    def walk(part):
        if part.is_multipart or part.is_message:
            for child in part.children:
                yield from walk(child)
        else:
            content = decode_transfer(message[part.body : part.end], part.encoding)
            yield part.type, part.subtype, part.charset, content

    return list(walk(structure(len(message), reading(message))))


MIXED = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%b\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\ncontent-transfer-encoding:  8bit\r\n\r\n"
    b"Subject: inner\r\n\r\n%b\r\n"
    b"--b--\r\nepilogue\r\n"
)


@given(
    st.lists(st.sampled_from(["Grüße", "a", " ", "\t", "=", ".", "\r\n", "日本", "From "]), max_size=40),
    st.lists(st.sampled_from([b"\xe9", b"a", b" ", b"\r\n", b"=41", b"." * 70]), max_size=40),
)
@example(["ü", "\r\n"], [b"\xe9" * 300])
def test_every_part_decodes_to_what_it_was(words, octets):
    message = MIXED % ("".join(words).encode(), b"".join(octets))
    out = downgraded(message)
    assert out.isascii()
    before = [part[3] for part in leaves(message)]
    assert [part[3] for part in leaves(out)] == before
    assert max(map(len, out.split(b"\r\n"))) <= 998


def test_pythons_parser_agrees():
    text = "Grüße, und ein = am Ende \r\n.\r\n" * 40
    out = downgraded(MIXED % (text.encode(), b"caf\xe9"))
    message = email.message_from_bytes(out, policy=email.policy.default)
    plain, attached, inner = message.iter_parts()
    assert plain.get_payload(decode=True) == text.encode()
    assert attached.get_content() == b"\0\0\0"
    (inside,) = inner.iter_parts()
    assert inside["MIME-Version"] == "1.0"
    assert inside.get_content_charset() == "unknown-8bit"
    assert inside.get_payload(decode=True) == b"caf\xe9"
    assert message["Content-Transfer-Encoding"] == "7bit"
    assert inner["Content-Transfer-Encoding"] == "7bit"


def test_a_message_without_mime():
    out = downgraded(b"Subject: x\r\n\r\ncaf\xe9 \r\n")
    assert out == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9=20\r\n"
    )


def test_what_is_seven_bit_stays_as_it_is():
    message = MIXED.replace(b"8bit", b"7bit") % (b"text", b"text")
    assert downgraded(message) == message


def test_seven_bit_content_under_an_8bit_label_is_only_labelled():
    message = b"Content-Transfer-Encoding: 8bit\r\nMIME-Version: 1.0\r\nSubject: x\r\n\r\ntext\r\n"
    expected = b"Content-Transfer-Encoding: 7bit\r\nMIME-Version: 1.0\r\nSubject: x\r\n\r\ntext\r\n"
    assert downgraded(message) == expected


def test_text_that_is_not_ascii_goes_as_base64():
    message = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + "日本語".encode() * 50 + b"\r\n"
    out = downgraded(message)
    assert b"base64" in out
    assert leaves(out)[0][3] == leaves(message)[0][3]


def test_binary_for_a_server_that_takes_8bit():
    message = MIXED.replace(b"8bit", b"binary") % ("grüße\r\n".encode(), b"a\0\xff\nb")
    out = downgraded(message, eight_bit=True)
    assert b"binary" not in out
    assert "grüße".encode() in out
    assert b"\0" not in out
    assert [part[3] for part in leaves(out)] == [part[3] for part in leaves(message)]


def test_a_bare_line_feed_is_kept_by_base64():
    message = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc\r\n"
    assert leaves(downgraded(message, eight_bit=True))[0][3] == b"a\nb\rc\r\n"


SIGNED = MIXED.replace(b"multipart/mixed", b"multipart/signed; micalg=pgp-sha256")


@pytest.mark.parametrize(
    "message",
    [
        SIGNED % ("ü".encode(), b"x"),
        MIXED.replace(b"message/rfc822", b"message/delivery-status") % (b"x", b"\xe9"),
        SIGNED.replace(b"message/rfc822", b"message/global") % (b"x", b"\xe9"),
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="none"\r\n\r\n\xe9\r\n',
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n\xe9\r\n",
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 1200 + b"\xe9\r\n--b--\r\n",
    ],
)
def test_what_must_not_be_touched(message):
    with pytest.raises(Untouchable):
        downgraded(message)


@pytest.mark.parametrize("kind", [b"global", b"global-headers", b"global-delivery-status"])
def test_what_is_global_may_be_encoded(kind):
    """RFC 6532 section 3.7, RFC 6533 section 5."""
    inner = "Subject: grüße\r\n\r\nund mehr\r\n".encode()
    message = MIXED.replace(b"message/rfc822", b"message/" + kind).replace(b"Subject: inner\r\n\r\n", b"")
    out = downgraded(message % (b"x", inner))
    assert out.isascii()
    *_, part = email.message_from_bytes(out, policy=email.policy.compat32).get_payload()
    assert part.get_content_type() == "message/" + kind.decode()
    assert (part["Content-Transfer-Encoding"], b"gr=C3=BC=C3=9Fe" in out) == ("quoted-printable", True)


def test_a_report_may_return_a_signed_message():
    """It must reach its reader; the signature is of a copy."""
    signed = SIGNED.replace(b'"b"', b'"c"').replace(b"--b", b"--c") % ("ü".encode(), b"x")
    report = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        b"--b\r\n\r\nsorry\r\n--b\r\nContent-Type: message/rfc822\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n%b\r\n--b--\r\n"
    ) % signed
    out = downgraded(report)
    assert out.isascii()
    assert leaves(out) == leaves(report)


def test_a_signed_message_without_8_bit_content_is_left_alone():
    message = SIGNED % (b"x", b"y")
    assert downgraded(message) == message


def test_a_nul_is_stored_encoded_and_what_is_signed_left_alone():
    signed = (
        (SIGNED % (b"bare \n", b"x" * 2000)).replace(b"8bit", b"binary").replace(b'"b"', b"c").replace(b"--b", b"--c")
    )
    message = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"--b\r\nContent-Transfer-Encoding: binary\r\n\r\na\0\xff\nb\r\n--b\r\n%b\r\n--b--\r\n"
    ) % signed
    out = stored(message)
    assert b"\0" not in out
    assert signed in out
    assert leaves(out)[0][3] == b"a\0\xff\nb"
    assert [part[3] for part in leaves(out)] == [part[3] for part in leaves(message)]
    with pytest.raises(Untouchable):
        stored(message.replace(b"bare \n", b"\0"))


@given(st.lists(st.sampled_from([b"\0", b"\r", b"\n", b"\xff", b"a", b"\r\n", b"-", b"--b"]), max_size=40))
def test_every_part_that_is_stored_decodes_to_what_it_was(octets):
    message = MIXED.replace(b"8bit", b"binary") % (b"x\0" + b"".join(octets), b"y\0")
    try:
        out = stored(message)
    except Untouchable:
        return
    parts = leaves(message)
    assert [part[3] for part in leaves(out)] == [part[3] for part in parts]
    if not any(b"--b" in octet for octet in octets):  # else a NUL may be in a header
        assert b"\0" not in out


@pytest.mark.parametrize(
    "message",
    [
        b"Content-Transfer-Encoding: 8bit\n\xd8",  # no field must not come first, or there is no header
        b"a: 1\n\r\r\nb\nContent-Type: image/png\n\n\xff",
        b"Content-Type: multipart/mixed; boundary=g\n\n--g\nContent-Type: message/global\n\nm:\x85\n--g\n\nlast",
    ],
)
def test_headers_that_are_none(message):
    out = downgraded(message)
    assert [part[0] for part in leaves(out)] == [part[0] for part in leaves(message)]
    assert leaves(out)[-1] == leaves(message)[-1]


@pytest.mark.parametrize("change", [downgraded, stored])
@given(st.binary(max_size=400))
def test_no_message_makes_it_fail(change, data):
    try:
        out = change(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + data)
    except Untouchable:
        return
    assert structure(len(out), reading(out)) is not None


@given(st.binary(max_size=500), st.lists(st.integers(0, 100), max_size=10))
def test_base64_in_any_pieces(data, cuts):
    encoder, at, out = Base64Encoder(), 0, b""
    for cut in cuts:
        out += encoder.feed(data[at : at + cut])
        at += cut
    out += encoder.feed(data[at:]) + encoder.end()
    assert decode_transfer(out, "base64") == data
    assert not out.endswith(b"\n")
    assert max(map(len, out.split(b"\r\n"))) <= 76


TEXT = st.text("aü= \t.é", max_size=120)


@given(st.lists(TEXT, min_size=1, max_size=6), st.lists(st.integers(0, 100), max_size=10))
def test_quoted_printable_in_any_pieces(lines, cuts):
    data = "\r\n".join(lines).encode()
    encoder, at, out = QuotedPrintableEncoder(), 0, b""
    for cut in cuts:
        out += encoder.feed(data[at : at + cut])
        at += cut
    out += encoder.feed(data[at:]) + encoder.end()
    assert decode_transfer(out, "quoted-printable") == data
    assert max(map(len, out.split(b"\r\n"))) <= 76
    assert not any(line.endswith((b" ", b"\t")) for line in out.split(b"\r\n"))


def test_headers_of_parts_count():
    message = MIXED % (b"x", b"y")
    assert has_ascii_headers(structure(len(message), reading(message)), reading(message))
    message = message.replace(b"inner", "für".encode())
    assert not has_ascii_headers(structure(len(message), reading(message)), reading(message))
