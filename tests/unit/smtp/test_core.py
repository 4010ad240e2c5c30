"""The invariants of the SMTP core: never raises, splits do not matter, one reply a command, memory is bounded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from pillarbox.smtp import events
from pillarbox.smtp.core import COMMANDS, SmtpCore
from pillarbox.smtp.offer import Limits, Offer

SMALL = Limits(
    message_size=200, recipients=3, command_line=80, auth_line=120, data_line=40, errors=6, empty_commands=12
)
OFFER = Offer(starttls=True, auth=("PLAIN", "LOGIN"), auth_in_clear=True)


def new(*, lmtp=False, limits=SMALL, **offer) -> SmtpCore:
    return SmtpCore("mx.example.com", limits, Offer(**offer) if offer else OFFER, lmtp=lmtp)


def answer(core: SmtpCore, event: events.Event, decide) -> None:
    """Answer as a session might: mostly yes."""
    while core.waiting is event:
        choice = decide()
        if choice == 0 and isinstance(event, events.Auth | events.AuthResponse):
            core.challenge(b"more")
        elif choice == 0:
            core.reply(450, "4.7.1", "Not now")
        else:
            core.accept()


def drain(core: SmtpCore, decide=lambda: 1) -> list[events.Event]:
    found = []
    while (event := core.next_event()) is not None:
        answer(core, event, decide)
        found.append(event)
    return found


def merged(found: list[events.Event]) -> list[events.Event]:
    """Adjacent pieces of content as one."""
    out: list[events.Event] = []
    for event in found:
        if isinstance(event, events.Content) and out and isinstance(out[-1], events.Content):
            out[-1] = events.Content(out[-1].data + event.data)
        else:
            out.append(event)
    return out


def decider(choices: list[int]):
    left = list(choices)
    return lambda: left.pop(0) if left else 1


VERBS = [f"{verb}\r\n".encode() for verb in COMMANDS]
LINES = st.sampled_from(
    [
        *VERBS,
        b"EHLO c\r\n",
        b"HELO c\r\n",
        b"LHLO c\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<> SIZE=30 BODY=BINARYMIME\r\n",
        b"MAIL FROM:<\xc3\xa9@b.example> SMTPUTF8\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"RCPT TO:<c@d.example> NOTIFY=NEVER ORCPT=rfc822;x\r\n",
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n",
        b"DATA\r\n",
        b"DATA\r\nhello\r\n..\r\n.\r\n",
        b"DATA\r\nhello\n.\nx\r\n.\r\n",
        b".\r\n",
        b"BDAT 5\r\nhello",
        b"BDAT 7 LAST\r\nab\r\n.\r\n",
        b"BDAT 300 LAST\r\n" + b"QUIT\r\n" * 50,
        b"BDAT 3 x\r\nabc",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"AUTH LOGIN\r\nYQ==\r\nYg==\r\n",
        b"*\r\n",
        b"NOOP " + b"x" * 90 + b"\r\n",
        b"NOOP " + b"x" * 200 + b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\xff",
    ]
)
TALK = st.lists(LINES | st.binary(max_size=12), max_size=20).map(b"".join)


@settings(max_examples=examples(300))
@given(
    st.just(b"EHLO c\r\n") | st.just(b""),
    TALK,
    st.lists(st.integers(1, 60), max_size=60),
    st.lists(st.integers(0, 4), max_size=12),
    st.booleans(),
)
def test_any_octets_in_any_split_end_the_same_and_never_raise(hello, data, sizes, choices, lmtp):
    data = hello.replace(b"EHLO", b"LHLO") + data if lmtp else hello + data
    whole, parts = new(lmtp=lmtp), new(lmtp=lmtp)
    whole.receive(data)
    expected = drain(whole, decider(choices))
    decide, got, at = decider(choices), [], 0
    for size in [*sizes, len(data)]:
        parts.receive(data[at : at + size])
        got += drain(parts, decide)
        at += size
    assert merged(got) == merged(expected)
    assert parts.output() == whole.output()
    assert (parts.closed, parts.mid_transaction, parts.receiving) == (
        whole.closed,
        whole.mid_transaction,
        whole.receiving,
    )


@given(TALK)
def test_every_reply_is_well_formed(data):
    core = new()
    core.receive(b"EHLO c\r\nMAIL FROM:<a@b.example>\r\n" + data)
    drain(core)
    lines = core.output().split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        assert line[:3].isdigit() and line[3:4] in (b" ", b"-") and len(line) <= 510
        assert line.isascii() and all(32 <= octet < 127 for octet in line)


def test_a_refused_command_names_no_control_characters_of_the_client():
    core = new()
    core.receive(b"EHLO c\r\nMAIL FROM:<a@b.example> X\xc2\x85Y\r\nMAIL FROM:<a@b.example> \xc3\xa9=1\r\n")
    drain(core)
    assert core.output().endswith(b"501 5.5.4 Syntax error in parameter ?\r\n")


def test_nothing_comes_out_while_an_answer_is_owed():
    core = new()
    core.receive(b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n")
    assert core.next_event() == events.Hello("c", True)
    assert core.next_event() is None
    assert core.output() == b""
    core.accept()
    assert isinstance(core.next_event(), events.Mail)
    assert core.next_event() is None


def test_an_answer_to_nothing_is_a_fault_of_the_session():
    core = new()
    with pytest.raises(RuntimeError):
        core.accept()
    with pytest.raises(RuntimeError):
        core.reply(250, None, "OK")
    with pytest.raises(RuntimeError):
        core.challenge(b"")
    core.receive(b"HELO c\r\nAUTH PLAIN\r\n")
    core.next_event()
    core.accept()
    core.next_event()
    with pytest.raises(RuntimeError):  # 334 goes by `challenge`
        core.reply(334, None, "")


def test_an_answer_that_comes_after_the_end_is_dropped():
    core = new()
    core.receive(b"HELO c\r\n")
    core.next_event()
    core.close(421, "4.4.2", "Connection timeout")
    core.accept()
    core.reply(250, None, "OK")
    core.close(421, "4.4.2", "Again")
    core.receive(b"NOOP\r\n")
    assert core.next_event() is None
    assert core.output() == b"421 4.4.2 Connection timeout\r\n"
    assert core.closed


def test_what_the_session_asks_between_events():
    core = new()
    core.receive(b"HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
    assert core.buffered > 0
    drain(core)
    assert (core.buffered, core.mid_transaction, core.receiving) == (0, True, False)
    core.receive(b"DATA\r\n")
    drain(core)
    assert (core.receiving, core.fault) == (True, None)
    core.receive(b"one\ntwo")
    drain(core)
    assert core.fault == events.BARE_LINE_END
    core.receive(b"\r\n.\r\n")
    drain(core)
    assert (core.mid_transaction, core.receiving, core.fault) == (False, False, None)


def test_tls_and_authentication_are_remembered_and_forgotten():
    core = new()
    core.receive(b"HELO c\r\nAUTH PLAIN AGEAYg==\r\n")
    drain(core)
    assert core.authenticated
    core.receive(b"STARTTLS\r\n")
    drain(core)
    core.tls_started()
    assert core.tls
    assert not core.authenticated


def test_an_idle_client_keeps_no_buffer():
    core = new(limits=Limits())
    core.receive(b"HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    drain(core)
    core.receive(b"x" * 60_000 + b"\r\n.\r\n")
    drain(core)
    assert core._in.data == b""


@pytest.mark.parametrize("junk", [b"x", b"\r", b"\n", b"\0"])
def test_a_line_without_end_is_not_kept(junk):
    core = new(limits=Limits())
    for _ in range(100):
        core.receive(junk * 5000)
        assert drain(core) == []
        assert core.buffered <= 12_290
    core.receive(b"\r\nNOOP\r\n")
    drain(core)
    assert core.output() == b"500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n"


def test_a_chunk_of_any_size_is_swallowed_without_keeping_it():
    core = new()
    core.receive(b"HELO c\r\nBDAT 1000000000\r\n")
    for _ in range(100):
        core.receive(b"x" * 100_000)
        assert drain(core)[1:] == []
        assert core.buffered == 0


def test_content_comes_in_big_slices():
    core = new(limits=Limits())
    core.receive(b"HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    drain(core)
    core.receive((b"x" * 70 + b"\r\n") * 3000)
    (piece,) = drain(core)
    assert len(piece.data) == 72 * 3000 - 2  # the last CRLF may be part of the end


def test_a_message_that_was_accepted_is_counted_once_per_recipient_in_lmtp():
    core = new(lmtp=True)
    core.receive(b"LHLO c\r\nMAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<c@d.example>\r\n" * 3 + b"DATA\r\n.\r\n")
    found = []
    while (event := core.next_event()) is not None:
        found.append(event)
        if isinstance(event, events.ContentEnd):
            break
        core.accept()
    core.output()
    for code in (250, 450, 550):
        assert core.waiting == found[-1]
        core.reply(code, None, "x")
    assert core.waiting is None
    assert core.output() == b"250 x\r\n450 x\r\n550 x\r\n"
