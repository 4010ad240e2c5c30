"""The core as a session drives it; conversations are in tests/dialogues/imap_*.txt."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from fuzz.fuzz_imap import DICTIONARY, SEEDS, run
from pillarbox.imap.core import ImapCore
from pillarbox.imap.events import AppendEnd, AppendStart, Command, Idle, LiteralChunk
from pillarbox.imap.limits import Limits
from pillarbox.imap.rules import COMMANDS
from pillarbox.imap.state import State


def core_in(state: State = State.SELECTED, **limits: int) -> ImapCore:
    core = ImapCore("h", tls=True, limits=Limits(**limits))
    core.state = state
    return core


def said(core: ImapCore) -> bytes:
    return b"".join(core.output())


def test_the_greeting_tells_the_capabilities():
    core = ImapCore("mail.example.com", tls=True)
    core.greet()
    assert said(core).startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ")


def test_pipelined_commands_come_out_one_at_a_time():
    core = core_in()
    core.receive(b"a NOOP\r\nb CHECK\r\n")
    assert core.next_event() == Command(b"a", "NOOP")
    assert core.next_event() is None
    core.tagged(b"a", "OK", "done")
    assert core.next_event() == Command(b"b", "CHECK")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("state", [State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED])
def test_a_command_out_of_its_state_is_bad(name, state):
    core = core_in(state)
    core.receive(b"a %b\r\n" % name.encode())
    event = core.next_event()
    text = said(core)
    if state in COMMANDS[name].states:
        assert b"SELECT one" not in text
        assert b"log in first" not in text
        assert b"logged in already" not in text
    else:
        assert event is None
        assert text.startswith(b"a BAD %b " % name.encode())


def test_a_message_is_handed_out_as_it_comes():
    core = core_in()
    core.receive(b"a APPEND INBOX {6+}\r\nab")
    start = core.next_event()
    assert isinstance(start, AppendStart)
    assert start.args.size == 6
    core.receive(b"cd")
    assert core.next_event() is None  # nothing of it before the session agrees
    core.accept_literal()
    assert core.next_event() == LiteralChunk(b"abcd")
    core.receive(b"ef\r\nb NOOP\r\n")
    assert core.next_event() == LiteralChunk(b"ef")
    assert core.next_event() == AppendEnd(b"a")
    core.tagged(b"a", "OK", "done", "APPENDUID 1 2")
    assert core.next_event() == Command(b"b", "NOOP")
    assert said(core) == b"a OK [APPENDUID 1 2] done\r\n"


def test_a_refused_gigabyte_is_skipped_without_being_kept():
    core = core_in(append=1000)
    core.receive(b"a APPEND INBOX {%d+}\r\n" % (1 << 30))
    piece = bytes(1 << 20)
    for _ in range(1 << 10):
        assert core.next_event() is None
        core.receive(piece)
    assert core.next_event() is None
    assert core.buffered == 0
    core.receive(b"\r\nb NOOP\r\n")
    assert core.next_event() == Command(b"b", "NOOP")
    assert said(core) == b"a NO [TOOBIG] a message has at most 1000 octets\r\n"


def test_a_line_without_end_is_refused_and_not_kept():
    core = core_in()
    for _ in range(100):
        core.receive(b"a FETCH " + b"1," * 5000)
        assert core.next_event() is None
        assert core.buffered <= core.limits.command + 1
    assert said(core) == b"a BAD [TOOBIG] the command line is too long\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"a SEARCH " + b"(" * 10_000,
        b"a SEARCH " + b"NOT " * 10_000 + b"ALL",
        b"a SEARCH " + b"OR " * 10_000 + b"ALL",
        b"a SEARCH " + b"ALL " * 10_000,
        b"a FETCH 1 BODY[" + b"1." * 10_000 + b"1]",
        b"a FETCH 1 (" + b"BODY[]<0.1> " * 5000 + b"UID)",
        b"a FETCH " + b"1," * 20_000 + b": FLAGS",
        b"a STORE 1 FLAGS (" + b"a" * 40_000 + b")",
        b'a LIST "" (' + b"* " * 20_000 + b"*)",
        b'a COPY 1 "' + b"\\\\" * 20_000,
        b'a ID ("a" "' + b"b" * 2000 + b'")',
    ],
)
def test_what_is_too_deep_or_too_many_is_refused_in_no_time(line):
    core = core_in()
    began = time.process_time()
    core.receive(line + b"\r\n")
    assert core.next_event() is None
    assert said(core)[:5] in (b"a BAD", b"a NO ")
    assert time.process_time() - began < 0.5


def test_thousands_of_literals_cost_linear_time():
    core = core_in()
    began = time.process_time()
    core.receive(b"a LIST {20000+}\r\n" + b"x" * 20_000 + b" {0+}\r\n" * 9000 + b"\r\n")
    assert core.next_event() is None
    assert said(core).startswith(b"a BAD")
    assert time.process_time() - began < 0.5


def test_a_chain_of_or_is_flat_and_long():
    core = core_in()
    core.receive(b"a SEARCH " + b"OR HEADER Message-ID x " * 400 + b"SEEN\r\n")
    event = core.next_event()
    assert isinstance(event, Command)
    assert len(event.args.key.keys) == 401


def test_idle_ends_by_done_only_after_it_began():
    core = core_in()
    core.receive(b"a IDLE\r\nDONE\r\n")
    assert core.next_event() == Idle(b"a")
    assert core.next_event() is None
    core.continuation()
    core.untagged(b"3 EXISTS")
    assert said(core) == b"+ idling\r\n* 3 EXISTS\r\n"
    done = core.next_event()
    assert done is not None
    assert done.fault is None


def test_nothing_is_heard_or_answered_after_bye():
    core = core_in()
    core.receive(b"a NOOP\r\nb NOOP\r\n")
    assert core.next_event() is not None
    core.bye("shutting down", "UNAVAILABLE")
    core.tagged(b"a", "OK", "done")
    core.receive(b"c NOOP\r\n")
    assert core.next_event() is None
    assert core.closed
    assert said(core) == b"* BYE [UNAVAILABLE] shutting down\r\n"


def test_enabling_qresync_enables_condstore():
    core = core_in(State.AUTHENTICATED)
    assert core.enable(["QRESYNC", "UTF8=ONLY"]) == ("QRESYNC",)
    assert core.enabled == {"QRESYNC", "CONDSTORE"}
    assert core.enable(["QRESYNC", "CONDSTORE", "IMAP4REV2"]) == ("IMAP4REV2",)
    assert core.utf8


def test_a_password_is_not_in_the_repr():
    core = ImapCore("h", tls=True)
    core.receive(b"a LOGIN ada s3cret\r\n")
    assert "s3cret" not in repr(core.next_event())


def test_long_responses_are_written_in_pieces():
    core = core_in()
    body = bytes(100_000)
    core.untagged(b"1 FETCH (BODY[] {100000}\r\n", body, b")")
    pieces = list(core.output())
    assert any(piece is body for piece in pieces)
    assert b"".join(pieces) == b"* 1 FETCH (BODY[] {100000}\r\n" + body + b")\r\n"


WORDS = (*DICTIONARY, *(seed[1:] for seed in SEEDS), b"a FETCH 1 ", b"FLAGS", b"\r\n", b"(")
FRAGMENTS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=5), max_size=8).map(b"".join)


@settings(max_examples=examples(150))
@given(st.integers(0, 31), FRAGMENTS | st.binary(max_size=100))
def test_any_bytes_in_any_split_end_the_same_and_never_raise(octet, data):
    run(bytes([octet]) + data)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_of_the_fuzz_target(seed):
    run(seed)
