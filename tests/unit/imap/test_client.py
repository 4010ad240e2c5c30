"""The client core: what servers say, in any split, and both ends of a conversation against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.client import Broken, Completed, Continuation, Greeting, ImapClientCore, Status, Untagged
from pillarbox.imap.response_parser import ResponseError, parse_values

GREETING = b"* OK [CAPABILITY IMAP4rev1] ready\r\n"


def hear(client, *pieces):
    events = []
    for piece in pieces:
        client.receive(piece)
        while (event := client.next_event()) is not None:
            events.append(event)
    return events


def greeted(**options):
    client = ImapClientCore(**options)
    assert hear(client, GREETING) == [Greeting(Status("OK", "CAPABILITY IMAP4rev1", "ready"))]
    return client


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        ([b""], []),
        ([b'(\\HasNoChildren \\Sent) "/" Sent'], [[b"\\HasNoChildren", b"\\Sent"], b"/", b"Sent"]),
        ([b'NIL "NIL" 12 "a \\"b\\" \\\\"'], [None, b"NIL", 12, b'a "b" \\']),
        ([b"(UID 7 BODY[HEADER.FIELDS (TO CC)] {5}", b"a(b c", b" FLAGS ())"], None),
        ([b"() {3}", b"abc", b""], [[], b"abc"]),
    ],
)
def test_values(parts, values):
    wanted = [[b"UID", 7, b"BODY[HEADER.FIELDS (TO CC)]", b"a(b c", b"FLAGS", []]] if values is None else values
    assert parse_values(parts) == wanted


@pytest.mark.parametrize("text", [b"(", b")", b'"', b'"\\', b"(" * 200])
def test_what_is_no_response_raises(text):
    with pytest.raises(ResponseError):
        parse_values([text])


SAID = (
    GREETING + b'* 2 FETCH (UID 9 FLAGS (\\Seen) INTERNALDATE " 1-Feb-2022 10:00:00 +0000" BODY[] {12}\r\n'
    b"Subject: x\r\n)\r\n* LIST () NIL {3}\r\nabc\r\n* SEARCH 1 2 3\r\n* OK [UIDNEXT 5] next\r\np1 NO [ALERT] no\r\n"
)


@given(st.integers(1, 40))
def test_the_same_events_in_any_split(step):
    client = ImapClientCore()
    client.command("NOOP")
    events = hear(client, *(SAID[at : at + step] for at in range(0, len(SAID), step)))
    date = b" 1-Feb-2022 10:00:00 +0000"
    fetched = [b"UID", 9, b"FLAGS", [b"\\Seen"], b"INTERNALDATE", date, b"BODY[]", b"Subject: x\r\n"]
    assert events[1:] == [
        Untagged("FETCH", 2, [fetched]),
        Untagged("LIST", values=[[], None, b"abc"]),
        Untagged("SEARCH", values=[1, 2, 3]),
        Untagged("OK", status=Status("OK", "UIDNEXT 5", "next")),
        Completed("p1", Status("NO", "ALERT", "no")),
    ]


@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([GREETING, b"* 1 FETCH (", b"{5}\r\n", b"+ \r\n", b"p1 OK x\r\n"])
    )
)
def test_any_octets_end_in_events_the_same_in_every_split(pieces):
    whole, parts = ImapClientCore(max_literal=1000), ImapClientCore(max_literal=1000)
    assert hear(whole, b"".join(pieces)) == hear(parts, *pieces)
    assert whole.closed is parts.closed


def test_a_literal_is_sent_when_it_is_asked_for():
    client = greeted()
    assert client.command("LOGIN", b"{} {}", b"ada", b"two words") == "p1"
    assert client.output() == b"p1 LOGIN {3}\r\n"
    hear(client, b"+ go on\r\n")
    assert client.output() == b"ada {9}\r\n"
    hear(client, b"+ go on\r\n")
    assert client.output() == b"two words\r\n"
    assert hear(client, b"p1 OK in\r\n") == [Completed("p1", Status("OK", "", "in"))]


def test_a_literal_that_is_refused_is_not_sent():
    client = greeted()
    client.command("APPEND", b"INBOX {}", b"x" * 100)
    client.output()
    assert hear(client, b"p1 NO [OVERQUOTA] full\r\n") == [Completed("p1", Status("NO", "OVERQUOTA", "full"))]
    client.command("NOOP")
    assert client.output() == b"p2 NOOP\r\n"


def test_a_challenge_is_answered():
    client = greeted()
    client.command("AUTHENTICATE", b"PLAIN")
    assert hear(client, b"+ b25l\r\n") == [Continuation(b"one")]
    client.output()
    client.respond(b"\0ada\0pw")
    assert client.output() == b"AGFkYQBwdw==\r\n"


@pytest.mark.parametrize("said", [b"* 1 FETCH (BODY[] {2000}\r\n", b"x" * (2 << 20), b"p1\r\n", b"* 1 FETCH ())\r\n"])
def test_what_is_no_imap_ends_the_conversation(said):
    client = greeted(max_literal=1000)
    events = hear(client, said)
    assert isinstance(events[-1], Broken)
    assert client.closed
    assert hear(client, b"* OK x\r\n") == []
