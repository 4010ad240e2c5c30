"""The fault matrix: a peer that misbehaves at one step of the conversation, and what becomes of the message.

What is done at a step: drop (reset), close (properly, with TLS's own goodbye where there is TLS), stall, drip (octets
of an answer that never ends), trails (lines of one), an answer 4xx, 421 or 5xx, garbage. Each cell says what becomes of
both recipients, D deferred, F failed, + delivered, and the stage of the reply that is kept; `-` is not possible. The
peer has the message once where it was delivered, else never. `docs/delivery.md` says why.
"""

import asyncio

import pytest
import uvloop

from going_out import MESSAGE, Shelf, carrier, hop, parcel
from pillarbox.flow.mail_hosts import MailHost
from pillarbox.flow.parcel import HopDown
from scripted_peer import ACCEPT_AND_DROP, CLOSE, DRIP, DROP, STALL, TRAILS, Peer, certificate

KINDS = {
    "drop": DROP,
    "close": CLOSE,
    "stall": STALL,
    "drip": DRIP,
    "trails": TRAILS,
    "4xx": b"450 4.7.1 later\r\n",
    "421": b"421 4.3.2 going down\r\n",
    "5xx": b"550 5.7.1 never\r\n",
    "garbage": b"\x00\xff nothing like SMTP\r\n",
}

# With the policy `may`: where TLS goes wrong the same host gets the mail in the clear. AUTH is on loopback here.
IN_THE_CLEAR = """
step       drop       close      stall      drip       trails     4xx        421        5xx        garbage
connect    D:CONNECT  -          -          -          -          -          -          -          -
banner     D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:GREETING D:GREETING F:GREETING D:PROTOCOL
EHLO       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:HELLO    D:HELLO    +          D:PROTOCOL
HELO       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:HELLO    D:HELLO    F:HELLO    D:PROTOCOL
STARTTLS   +          +          +          +          +          +          +          +          +
handshake  +          +          +          +          +          -          -          -          +
AUTH       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:AUTH     D:AUTH     D:AUTH     D:PROTOCOL
MAIL       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:MAIL     D:MAIL     F:MAIL     D:PROTOCOL
RCPT       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:RCPT     D:RCPT     F:RCPT     D:PROTOCOL
DATA       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:DATA     D:DATA     F:DATA     D:PROTOCOL
content    D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:END      D:END      F:END      D:PROTOCOL
END        D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:END      D:END      F:END      D:PROTOCOL
RSET       F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT
QUIT       +          +          +          +          +          +          +          +          +
"""

# With the policy `require`: everything from the second EHLO on is within TLS.
IN_TLS = """
step       drop       close      stall      drip       trails     4xx        421        5xx        garbage
STARTTLS   D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:STARTTLS D:STARTTLS D:STARTTLS D:PROTOCOL
handshake  D:STARTTLS D:STARTTLS D:STARTTLS D:STARTTLS D:STARTTLS -          -          -          D:STARTTLS
EHLO       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:HELLO    D:HELLO    +          D:PROTOCOL
AUTH       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:AUTH     D:AUTH     D:AUTH     D:PROTOCOL
MAIL       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:MAIL     D:MAIL     F:MAIL     D:PROTOCOL
RCPT       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:RCPT     D:RCPT     F:RCPT     D:PROTOCOL
DATA       D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:DATA     D:DATA     F:DATA     D:PROTOCOL
content    D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:END      D:END      F:END      D:PROTOCOL
END        D:LOST     D:LOST     D:TIMEOUT  D:TIMEOUT  D:PROTOCOL D:END      D:END      F:END      D:PROTOCOL
RSET       F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT     F:RCPT
QUIT       +          +          +          +          +          +          +          +          +
"""

RESULTS = {"D": "deferred", "F": "failed", "+": "delivered"}
LARGE = b"Subject: large\r\n\r\n" + b"words in a line\r\n" * 500_000


def cells(table):
    rows = [line.split() for line in table.strip().splitlines()]
    for step, *row in rows[1:]:
        for kind, expected in zip(rows[0][1:], row, strict=True):
            if expected != "-":
                yield pytest.param(step, kind, expected, id=f"{step}-{kind}")


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"), "mx.example.org")[1]


def plan_for(step, kind, *, in_tls):
    done = KINDS[kind]
    if step == "HELO":
        return {"EHLO": b"502 5.5.1 what\r\n", "HELO": done}
    if step == "RSET":
        return {"RCPT": b"550 5.1.1 nobody\r\n", "RSET": done}
    if step == "EHLO" and in_tls:
        return {"EHLO": [None, done]}
    return {step: done}


def run(work):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def deliver(port, one, store, **changes):
    """Send it as the queue would: result and reply for each recipient, and whether the lane could go on."""
    try:
        lane = await carrier(store=store).open(hop(port, **changes))
    except HopDown as down:
        return [("failed" if down.permanent else "deferred", down.reply) for _ in one.recipients], False
    outcomes = await lane.send(one)
    usable = lane.usable
    await lane.close()
    return [(outcome.result, outcome.reply) for outcome in outcomes], usable


async def check(step, kind, expected, *, tls, in_tls):
    plan = {} if step == "connect" else plan_for(step, kind, in_tls=in_tls)
    changes = {"tls": "require" if in_tls else "may"}
    if step == "AUTH":
        changes |= {"username": "ada", "password": "x"} | ({} if in_tls else {"tls": "never"})
    content = LARGE if step == "content" else MESSAGE
    context = tls if in_tls or step in ("STARTTLS", "handshake") else None
    async with Peer(plan, offer=("PIPELINING", "AUTH PLAIN"), tls=context) as peer:
        if step == "connect":
            await peer.stop()
        one = parcel(content=content, blob=2)
        found, usable = await deliver(peer.port, one, Shelf(b2=content), **changes)
    result, _, stage = expected.partition(":")
    assert [each for each, _ in found] == [RESULTS[result]] * 2, found[0][1]
    for _, reply in found:
        assert reply.stage == (stage or "END"), reply
        assert reply.enhanced[0] == str(reply.code)[0]
        assert (reply.host, reply.address) == ("mx.example.org", f"127.0.0.1:{peer.port}")
        assert reply.text
    assert len(peer.messages) == (1 if result == "+" else 0)
    if stage in ("LOST", "TIMEOUT", "PROTOCOL") or step == "RSET" or kind == "421":
        assert not usable or step in ("STARTTLS", "QUIT")
    if step == "END" and stage in ("LOST", "TIMEOUT", "PROTOCOL"):
        assert "may have been delivered" in found[0][1].text


@pytest.mark.parametrize(("step", "kind", "expected"), list(cells(IN_THE_CLEAR)))
def test_in_the_clear(step, kind, expected, tls):
    run(check(step, kind, expected, tls=tls, in_tls=False))


@pytest.mark.parametrize(("step", "kind", "expected"), list(cells(IN_TLS)))
def test_in_tls(step, kind, expected, tls):
    run(check(step, kind, expected, tls=tls, in_tls=True))


@pytest.mark.parametrize("kind", ["drop", "close", "stall", "4xx", "421", "5xx", "garbage"])
@pytest.mark.parametrize("step", ["banner", "EHLO", "STARTTLS", "handshake", "EHLO in TLS"])
def test_the_next_host_takes_it(step, kind, tls):
    """Trouble before MAIL at the first host: the second one delivers, once."""

    async def work():
        plan = {"EHLO": [None, KINDS[kind]]} if step == "EHLO in TLS" else {step: KINDS[kind]}
        plan |= {"HELO": KINDS[kind]}
        async with Peer(plan, tls=tls) as bad, Peer(tls=tls) as good:
            await good.stop()
            await good.listen("127.0.0.2", bad.port)
            hosts = [MailHost("bad.example.org", 1, ("127.0.0.1",)), MailHost("good.example.org", 2, ("127.0.0.2",))]
            lane = await carrier(*hosts).open(hop(bad.port, tls="require"))
            outcomes = await lane.send(parcel())
            await lane.close()
        assert [(outcome.result, outcome.reply.host) for outcome in outcomes] == [("delivered", "good.example.org")] * 2
        assert (len(bad.messages), len(good.messages)) == (0, 1)

    run(work())


RCPTS = [
    ("4xx", ["deferred", "delivered"]),
    ("5xx", ["failed", "delivered"]),
]


@pytest.mark.parametrize(("kind", "expected"), RCPTS)
def test_one_recipient_is_refused(kind, expected):
    async def work():
        async with Peer({"RCPT": [KINDS[kind], None]}) as peer:
            found, usable = await deliver(peer.port, parcel(), Shelf())
        assert [result for result, _ in found] == expected
        assert usable
        assert [message[1] for message in peer.messages] == [("RCPT TO:<b@example.org>",)]

    run(work())


@pytest.mark.parametrize("kind", ["drop", "stall", "421", "garbage"])
def test_what_was_decided_before_the_end_stays_decided(kind):
    """The first recipient was refused for good; then the conversation broke."""

    async def work():
        async with Peer({"RCPT": [KINDS["5xx"], KINDS[kind]]}) as peer:
            found, usable = await deliver(peer.port, parcel(), Shelf())
        assert [result for result, _ in found] == ["failed", "deferred"]
        assert not usable
        assert peer.messages == []

    run(work())


def test_taken_but_never_answered():
    """The one case in which a message comes twice: the reply that is kept says so."""

    async def work():
        async with Peer({"END": [ACCEPT_AND_DROP]}) as peer:
            found, _ = await deliver(peer.port, parcel(), Shelf())
            assert [(result, reply.stage) for result, reply in found] == [("deferred", "LOST")] * 2
            assert "may have been delivered" in found[0][1].text
            again, _ = await deliver(peer.port, parcel(), Shelf())
        assert [result for result, _ in again] == ["delivered"] * 2
        assert len(peer.messages) == 2

    run(work())
