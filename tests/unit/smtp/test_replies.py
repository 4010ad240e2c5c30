"""Replies are well formed whatever their text is."""

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.smtp import replies
from pillarbox.smtp.replies import Reply, encode


def test_one_line_and_several():
    assert encode(250, "2.1.0", "OK") == b"250 2.1.0 OK\r\n"
    assert encode(354, None, "go") == b"354 go\r\n"
    assert encode(550, "5.7.1", ["one", "two"]) == b"550-5.7.1 one\r\n550 5.7.1 two\r\n"
    assert encode(250, None, ["a-b", "c-d"]) == b"250-a-b\r\n250 c-d\r\n"
    assert encode(250, None, []) == b"250 \r\n"


def test_nothing_can_make_a_line_of_its_own():
    assert encode(550, "5.1.1", "no\r\n250 yes") == b"550 5.1.1 no?250 yes\r\n"
    assert encode(550, "5.1.1", "nö") == b"550 5.1.1 n?\r\n"


@given(st.text(max_size=600) | st.lists(st.text(max_size=600), max_size=3))
def test_lines_are_short_and_printable(text):
    lines = encode(550, "5.1.1", text).split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 510 and line.decode("ascii").isprintable() for line in lines)
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]


def test_enhanced_codes_agree_with_their_replies():
    known = [value for value in vars(replies).values() if isinstance(value, Reply)]
    assert len(known) > 40
    for code, enhanced, text in known:
        assert enhanced is None or enhanced[0] == str(code)[0], text
