"""What the core promises whatever is said to it, and how long answers leave it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.pop3.commands import Auth, AuthResponse, Command, Login, Quit, Reply, StartTls, State
from pillarbox.pop3.core import MAX_LINE, Pop3Core, stuffed


def drain(core):
    """Answer every event in a way that depends on the event alone; what came, as text."""
    events = []
    while (event := core.next_event()) is not None:
        events.append(repr(event))
        match event:
            case Login(_, "right"):
                core.logged_in()
            case Auth(_, None):
                core.challenge(b"go on")
            case Auth() | AuthResponse() | Login():
                core.reply(Reply(False, "no", "AUTH"))
            case Command("RETR" | "TOP"):
                core.reply(Reply(True, "follows", content=[b"a\r", b"\n.b\r\n", b".", b"\r\n"]))
            case Command() | Quit():
                core.reply(Reply(True))
            case StartTls():
                pass
    return events


def make_core():
    return Pop3Core("h", starttls=True, clear_login=True, mechanisms=("PLAIN", "LOGIN"))


LINES = """USER ada|PASS right|PASS|RETR 1|TOP 1 2|AUTH PLAIN|AUTH LOGIN =|YWRh|*|QUIT|STLS|CAPA|UTF8|LANG|LIST|DELE 1|
NOOP|RSET|UIDL|STAT|\0|"""
WORDS = st.lists(
    st.sampled_from([*LINES.replace("\n", "").split("|"), "x" * 300]),
    max_size=12,
).map(lambda lines: "".join(f"{line}\r\n" for line in lines).encode())


@given(st.binary(max_size=600) | WORDS, st.data())
def test_any_bytes_in_any_split_end_the_same_and_never_raise(data, draw):
    whole, parts = make_core(), make_core()
    whole.receive(data)
    expected, got, at = drain(whole), [], 0
    while at < len(data):
        size = draw.draw(st.integers(1, 40))
        parts.receive(data[at : at + size])
        got += drain(parts)
        at += size
    assert got == expected
    assert b"".join(parts.output()) == b"".join(whole.output())
    assert parts.state is whole.state


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a"]), max_size=10))
def test_a_client_that_unstuffs_has_the_message(pieces):
    message = b"".join(pieces)
    sent = b"".join(stuffed(pieces))
    *lines, last, rest = sent.split(b"\n")  # as most clients do it, so that a bare LF ends a line too
    assert (last, rest) == (b".\r", b"")
    assert not {b".", b".\r"} & set(lines)  # the end comes once
    unstuffed = b"".join(line.removeprefix(b".") + b"\n" for line in lines)
    assert unstuffed in (message, message + b"\r\n")


def test_a_long_message_never_stands_here_whole():
    core = make_core()
    core.state = State.TRANSACTION
    core.receive(b"RETR 1\r\n")
    assert core.next_event() == Command("RETR", (1,))
    core.reply(Reply(True, "follows", content=(b"x" * 1022 + b"\r\n" for _ in range(64 * 1024))))
    tracemalloc.start()
    size = sum(map(len, core.output()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 64 << 20
    assert peak < 1 << 20


def test_a_command_waits_until_the_one_before_is_answered():
    core = make_core()
    core.state = State.TRANSACTION
    core.receive(b"STAT\r\nNOOP\r\n")
    assert core.next_event() == Command("STAT")
    assert core.next_event() is None
    core.reply(Reply(True, "0 0"))
    assert core.next_event() == Command("NOOP")


@pytest.mark.parametrize("junk", [b"\x00" * 300, b"A" * 300, b"NOPE\r\n" * 5, b"AUTH " + b"A" * 20_000])
def test_junk_closes_the_connection(junk):
    core = make_core()
    core.receive(junk)
    assert drain(core) == []
    assert core.closed


def test_a_long_initial_response_fits_where_a_long_command_does_not():
    core = Pop3Core("h", tls=True, mechanisms=("OAUTHBEARER",))
    core.receive(b"AUTH OAUTHBEARER " + b"QUFB" * 500 + b"\r\n")
    assert core.next_event() == Auth("OAUTHBEARER", b"AAA" * 500)
    assert MAX_LINE < 2000


def test_what_answers_nothing_is_said_once():
    core = make_core()
    core.close("idle for too long", "SYS/TEMP")
    core.close("again")
    assert b"".join(core.output()) == b"-ERR [SYS/TEMP] idle for too long\r\n"
    assert core.closed
