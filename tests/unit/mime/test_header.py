"""Header blocks: selection with octets kept, decoded values, encoded words, dates, subjects, message ids."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.mime.analysis import analyse, message_ids
from pillarbox.mime.date import parse_date
from pillarbox.mime.encoded_word import decode_words
from pillarbox.mime.header import (
    LISTED,
    decoded_value,
    fields_of,
    header_text,
    listed_fields,
    lists_all,
    raw_values,
    select_fields,
    select_in_each,
    unfold,
)
from pillarbox.mime.subject import base_subject

HEADER = b"From x\r\nA: 1\r\nB : 2\r\n\tmore\r\na: 3\r\njunk\r\nC:\r\n\r\n"


def test_selected_fields_keep_their_octets_and_order() -> None:
    assert select_fields(HEADER, [b"a"]) == b"A: 1\r\na: 3\r\n\r\n"
    assert select_fields(HEADER, [b"B", b"c", b"none"]) == b"B : 2\r\n\tmore\r\nC:\r\n\r\n"
    assert select_fields(HEADER, []) == b"\r\n"


def test_fields_not_selected_are_all_the_others() -> None:
    assert select_fields(HEADER, frozenset([b"A"]), invert=True) == b"B : 2\r\n\tmore\r\nC:\r\n\r\n"
    assert select_fields(HEADER, [], True) == b"A: 1\r\nB : 2\r\n\tmore\r\na: 3\r\nC:\r\n\r\n"


@pytest.mark.parametrize("header", [b"A: 1", b"A: 1\r\n", b"A: 1\r\n\r\n"])
def test_a_header_that_is_cut_is_selected_with_its_line_end(header: bytes) -> None:
    assert select_fields(header, [b"a"]) == b"A: 1\r\n\r\n"
    assert select_fields(b"", [b"a"]) == b"\r\n"


def test_values() -> None:
    assert raw_values(HEADER, b"A") == [b"1", b"3"]
    assert raw_values(HEADER, b"b") == [b"2\tmore"]
    assert decoded_value(b"S: a\r\n \t=?utf-8?q?=C3=A9?=\r\nS: \xe9", b"s") == ["a é", "é"]
    assert unfold(b" a\r\n b\n c \r\n") == b"a b c"


def test_fields_by_name() -> None:
    assert fields_of(b"A: 1\nTo: x\nto: y\nA: 2\nTO: z") == {b"a": b" 1\n", b"to": b" x\n, y\n, z\n"}


def test_a_header_as_text() -> None:
    assert header_text(b"Subject: =?utf-8?q?=C3=A9?=\r\nX: a\r\n b\r\njunk\r\n\r\n") == "Subject: é\nX: a b"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        ("žluť".encode(), "žluť"),
        (b"caf\xe9", "café"),
        (b"=?iso-8859-1?q?this_is=20it?=", "this is it"),
        (b"=?UTF-8?B?w6k=?=", "é"),
        (b"=?utf-8*en?b?w6k?=", "é"),
        (b"a =?utf-8?q?b?= c", "a b c"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?= \t =?iso-8859-1?q?=E9?=", "aé"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        (b"=?utf-8?q?=C3?= =?utf-8?b?qQ==?=", "é"),
        (b"=?utf-8?q?a?=x=?utf-8?q?b?=", "axb"),
        (b"=?utf-8?q?a b?=", "a b"),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        (b"=?utf-8?q??=", ""),
        (b"=?nonsense?q?=C3=A9?=", "é"),
        (b"=?utf-8?q?a=0D=0Ab=00c?=", "a  b c"),
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?=?=?=", "=?=?=?="),
    ],
)
def test_encoded_words(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", (880127706, -360)),
        (b" Thu, 13 Feb 1969 23:32 -0330 (Newfoundland)", (-27723480, -210)),
        (b"21 Nov 97 09:55:06 GMT", (880106106, 0)),
        (b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", None),
        (b"Fri,\r\n 21 Nov 1997\r\n\t09:55:06 EST", (880124106, -300)),
        (b"1 Jan 70 0:0 UT", (0, 0)),
        (b"01 Jan 2049 00:00:00 +0000", (2493072000, 0)),
        (b"1 Jan 101 00:00:00 Z", (978307200, 0)),
        (b"Wed, 31 Dec 2008 23:59:60 +0000", (1230768000, 0)),
        (b"Mon Jul  7 11:22:33 2003", (1057576953, 0)),
        (b"Mon Jul  7 11:22:33 CEST 2003", (1057576953, 0)),
        (b"2003-07-07T11:22:33.5+02:00", (1057569753, 120)),
        (b"7-Jul-2003 11:22:33 +0200", (1057569753, 120)),
        (b"Mon, 7 July 2003 11.22.33 GMT+0200", (1057569753, 120)),
        (b"31 Feb 2003 00:00:00 +0000", None),
        (b"7 Foo 2003 00:00:00 +0000", None),
        (b"7 Jul 2003 24:00:00 +0000", None),
        (b"7 Jul 0000 00:00:00 +0000", None),
        (b"7 Jul 2003 11:22:33 +9999", (1057576953 - 99 * 3600 - 99 * 60, 99 * 60 + 99)),
        (b"yesterday", None),
        (b"", None),
    ],
)
def test_dates(value: bytes, expected: tuple[int, int] | None) -> None:
    assert parse_date(value) == expected


@given(st.integers(0, 4_000_000_000), st.integers(-12 * 60, 14 * 60))
def test_what_the_email_package_writes_is_read(seconds: int, zone: int) -> None:
    local = email.utils.formatdate(seconds + zone * 60, usegmt=False)[:-5]
    sign = "-" if zone < 0 else "+"
    written = f"{local}{sign}{abs(zone) // 60:02}{abs(zone) % 60:02}"
    assert parse_date(written.encode()) == (seconds, zone)


@pytest.mark.parametrize(
    ("subject", "base"),
    [
        ("hello", "hello"),
        ("Re: hello", "hello"),
        ("RE : re[3]: Fwd: fw: hello", "hello"),
        ("[list] Re: [list] hello", "hello"),
        ("[list] hello", "hello"),
        ("[only a tag]", "[only a tag]"),
        ("Re: [tag]", "[tag]"),
        ("hello (fwd) (FWD) ", "hello"),
        ("[Fwd: hello]", "hello"),
        ("[Fwd: [Fwd: Re: hello (fwd)]]", "hello"),
        ("  two   spaces\tand tabs ", "two spaces and tabs"),
        ("Re:", ""),
        ("Regarding: this", "Regarding: this"),
        ("Re [x] : y", "y"),
        ("[a][b] [c] Re: d", "d"),
        ("Re: [a] b [c]", "b [c]"),
        ("AW: hello", "AW: hello"),
        ("", ""),
    ],
)
def test_base_subjects(subject: str, base: str) -> None:
    assert base_subject(subject) == base


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b" <a@x>\r\n", ("<a@x>",)),
        (b"<a@x> <b@x>,<c\r\n @x>", ("<a@x>", "<b@x>", "<c@x>")),
        (b'"a phrase" <a@x> more', ("<a@x>",)),
        (b"bare@x", ("<bare@x>",)),
        (b"two bare@x", ()),
        (b"<>", ()),
        (b"<a\0b>", ()),
        (b"<" + b"a" * 2000 + b">", ()),
        (b"", ()),
    ],
)
def test_message_ids(value: bytes, ids: tuple[str, ...]) -> None:
    assert message_ids(value) == ids


def test_of_too_many_references_the_root_and_the_nearest_stay() -> None:
    value = b" ".join([b"<%d@x>" % i for i in range(500)])
    assert message_ids(value, 3) == ("<0@x>", "<498@x>", "<499@x>")


def test_what_is_kept_of_the_header_with_a_message() -> None:
    analysis = analyse(
        b"Subject: [l] Re: =?utf-8?q?caf=C3=A9?=\r\n  au\r\n\tlait\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n"
        b"Message-ID:\r\n <m@x>\r\nIn-Reply-To: <r@x>\r\nReferences: <o@x>\r\n <r@x>\r\n\r\n  Some\r\n\r\n text"
    )
    assert analysis.subject == "[l] Re: café au lait"
    assert analysis.base_subject == "café au lait"
    assert (analysis.sent_at, analysis.sent_zone) == (880127706, -360)
    assert (analysis.message_id, analysis.in_reply_to, analysis.references) == ("<m@x>", ("<r@x>",), ("<o@x>", "<r@x>"))
    assert analysis.preview == "Some text"


LINES = (
    b"Subject: s\r\n",
    b"SUBJECT \t:\n",
    b"to:x\r\n",
    b"To\0: nul\r\n",
    b"to: n\0ul\0\n",
    b"x:\r\n",
    b"X: \rto: y\r\n",
    b"other: to: z\r\n",
    b" to: folded\r\n",
    b"\t\r\n",
    b"no field\n",
    b"\0\n",
    b"\r\n",
    b"\n",
)


@pytest.mark.parametrize(
    "block",
    [
        b"From: a@b.c\r\nReceived: x\r\nSUBJECT : a\r\n b\r\nX-Other: 1\r\nTo: d@e.f\nto: g@h.i\n\n",
        b"no field\r\n continued\r\nSubject: s\r\nnor this\r\n\tDate: no\r\nDate: yes\r\n\r\n",
        b"Subject: without an end",
        b"\r\n",
        b"",
    ],
)
@pytest.mark.parametrize("names", [[b"subject"], [b"To", b"FROM", b"date"], sorted(LISTED), []])
def test_listed_fields_answer_for_the_whole_header(block: bytes, names: list[bytes]) -> None:
    listed = listed_fields(block)
    assert listed is not None
    assert b"Received" not in listed
    assert lists_all(listed)
    assert select_fields(listed, names) == select_fields(block, names)


@given(
    st.lists(st.lists(st.sampled_from(LINES)).map(b"".join), max_size=6),
    st.frozensets(st.sampled_from([b"subject", b"to", b"x", b"nothing"])),
)
def test_fields_are_selected_in_many_headers_at_once(headers: list[bytes], names: frozenset[bytes]) -> None:
    one_by_one = [select_fields(header.replace(b"\0", b"\x80"), names) for header in headers]
    assert [chosen + b"\r\n" for chosen in select_in_each(headers, names)] == one_by_one


@pytest.mark.parametrize("older", [b"", b"Subject: 2\n", b"To: x\r\n 2\n", b"2", b"Lines:\n\t2\n"])
def test_what_older_versions_kept_has_not_all_fields(older: bytes) -> None:
    assert not lists_all(older)


def test_too_many_listed_fields_or_a_line_of_nobody_in_front_are_not_kept() -> None:
    assert listed_fields(b"To: " + b"x" * 3000 + b"\r\n\r\n") is None
    assert listed_fields(b" of the field before\r\nTo: x\r\n\r\n") is None


def test_many_names_are_selected_like_few() -> None:
    names = [b"x-%d" % n for n in range(100)] + [b"to"]
    block = b"To: a\r\nX-7: b\r\n c\r\nFrom: d\r\nx-99: e\r\n\r\n"
    assert select_fields(block, names) == b"To: a\r\nX-7: b\r\n c\r\nx-99: e\r\n\r\n"
    assert select_fields(block, [b"x-7", b"to"]) == b"To: a\r\nX-7: b\r\n c\r\n\r\n"
