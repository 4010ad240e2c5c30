"""Values and responses on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap import flags, responses
from pillarbox.imap.outbox import Outbox, response_text
from pillarbox.imap.syntax import Cursor


@given(st.binary().filter(lambda value: b"\0" not in value), st.booleans())
def test_a_string_is_read_again(value, utf8):
    for text in (responses.string(value, utf8), responses.astring(value, utf8)):
        assert Cursor(text).astring() == value


@pytest.mark.parametrize(
    ("value", "utf8", "text"),
    [
        (b"abc", False, b'"abc"'),
        (b'a"b\\', False, b'"a\\"b\\\\"'),
        (b"a\r\nb", False, b"{4}\r\na\r\nb"),
        ("ü".encode(), False, b"{2}\r\n\xc3\xbc"),
        ("ü".encode(), True, b'"\xc3\xbc"'),
        (b"\xff", True, b"{1}\r\n\xff"),
        (b"", False, b'""'),
        (b"x" * 1001, False, b"{1001}\r\n" + b"x" * 1001),
    ],
)
def test_strings(value, utf8, text):
    assert responses.string(value, utf8) == text


def test_atoms_nil_and_literal8():
    assert responses.astring(b"INBOX") == b"INBOX"
    assert responses.astring(b"nil") == b'"nil"'
    assert responses.nstring(None) == b"NIL"
    assert responses.literal8(b"a\0") == b"~{2}\r\na\0"
    assert responses.literal8(b"ab") == b"{2}\r\nab"


def test_names_go_out_as_the_session_reads_them():
    assert responses.mailbox("Entwürfe") == b"Entw&APw-rfe"
    assert responses.mailbox("Entwürfe", True) == '"Entwürfe"'.encode()
    assert responses.mailbox("a b") == b'"a b"'
    assert responses.mailbox("a%") == b'"a%"'


def test_list():
    assert responses.listing(("\\HasNoChildren", "\\Sent"), "Sent") == b'LIST (\\HasNoChildren \\Sent) "/" Sent'
    assert responses.listing(("\\Noselect",), "", delimiter="/") == b'LIST (\\Noselect) "/" ""'
    extended = responses.listing((), "Foo", child_info=("SUBSCRIBED",), old_name="Bar")
    assert extended == b'LIST () "/" Foo ("CHILDINFO" ("SUBSCRIBED") "OLDNAME" (Bar))'
    assert responses.listing((), "x", verb=b"LSUB", delimiter=None) == b"LSUB () NIL x"


def test_status_search_and_flags():
    assert (
        responses.status("a b", [("MESSAGES", 3), ("APPENDLIMIT", "NIL")])
        == b'STATUS "a b" (MESSAGES 3 APPENDLIMIT NIL)'
    )
    assert responses.search([2, 84]) == b"SEARCH 2 84"
    assert responses.search([]) == b"SEARCH"
    assert responses.search([2], 917) == b"SEARCH 2 (MODSEQ 917)"
    assert responses.flags(["$Junk"]) == b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Junk)"
    assert responses.permanent_flags(["x"]) == "PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft x \\*)"
    assert responses.permanent_flags(read_only=True) == "PERMANENTFLAGS ()"
    assert flags.render(flags.SEEN | flags.DRAFT, ["a"], recent=True) == b"(\\Seen \\Draft \\Recent a)"
    assert flags.render(0) == b"()"


def test_esearch():
    found = [2, 3, 4, 10]
    assert responses.esearch(b"A1", False, found, ("MIN", "COUNT")) == b'ESEARCH (TAG "A1") MIN 2 COUNT 4'
    assert responses.esearch(b"A1", True, found, ("ALL", "MAX")) == b'ESEARCH (TAG "A1") UID MAX 10 ALL 2:4,10'
    assert responses.esearch(b"A1", True, [], ("ALL", "MIN", "COUNT"), 5) == b'ESEARCH (TAG "A1") UID COUNT 0'
    assert responses.esearch(b"A1", False, [1], ("ALL",), 5) == b'ESEARCH (TAG "A1") ALL 1 MODSEQ 5'


def test_codes_of_uidplus():
    assert responses.copyuid(38505, [(304, 3956), (319, 3957), (320, 3958)]) == "COPYUID 38505 304,319:320 3956:3958"
    assert responses.copyuid(1, [(2, 7), (1, 8)]) == "COPYUID 1 1:2 8,7"
    assert responses.appenduid(38505, [3955]) == "APPENDUID 38505 3955"


def test_vanished_is_cut_between_uids():
    assert list(responses.vanished([1, 2, 3, 9], earlier=True)) == [b"VANISHED (EARLIER) 1:3,9"]
    assert list(responses.vanished([])) == []
    uids = list(range(1, 40_000, 2))
    lines = list(responses.vanished(uids))
    assert len(lines) > 10
    assert max(map(len, lines)) < 8100
    assert [int(uid) for line in lines for uid in line.removeprefix(b"VANISHED ").split(b",")] == uids


def test_namespace_and_id():
    assert responses.namespace() == b'NAMESPACE (("" "/")) NIL NIL'
    assert responses.namespace(("",), None, ("Shared/",)) == b'NAMESPACE (("" "/")) NIL (("Shared/" "/"))'
    assert responses.identification({"name": "Pillarbox"}) == b'ID ("name" "Pillarbox")'
    assert responses.identification({}) == b"ID NIL"


def test_a_text_stays_on_its_line_and_is_never_empty():
    assert response_text("a\r\nb", "X", False) == b"[X] a b"
    assert response_text("", None, False) == b"done"
    assert response_text("ü", None, False) == b"?"
    assert response_text("ü", None, True) == "ü".encode()
    assert response_text("no mailbox {3}", None, False) == b"no mailbox {3}."  # no literal follows


def test_output_is_pulled_in_order_and_what_is_not_taken_stays():
    out = Outbox()
    for piece in (b"a", b"b", b"c" * 70_000, b"d", b"e" * 40_000, b"f" * 40_000, b"g"):
        out.write(piece)
    pull = out.pull()
    assert next(pull) == b"ab"
    assert next(pull) == b"c" * 70_000
    pull.close()
    out.write(b"h")
    rest = list(out.pull())
    assert rest == [b"d" + b"e" * 40_000 + b"f" * 40_000, b"gh"]
    assert list(out.pull()) == []
