"""Fuzz target of the SMTP room: any octets, in any split, end in events or in replies, the same ones in every split.

The first octets of an input choose the kind of server, the answers of the session and the split; the rest is what the
client says. Checked besides: replies are well formed, events follow each other as `events` says,
nothing is given out beyond the size limit, nothing is kept that is not needed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from driver import main

from pillarbox.smtp import events
from pillarbox.smtp.core import COMMANDS, SmtpCore
from pillarbox.smtp.offer import Limits, Offer
from pillarbox.smtp.proxy import MAX_V2, ProxyError, parse

LIMITS = Limits(
    message_size=400, recipients=4, messages=30, command_line=120, auth_line=200, data_line=60, errors=9, refusals=12
)
OFFER = Offer(
    starttls=True,
    auth=("PLAIN", "LOGIN"),
    auth_in_clear=True,
    deliver_by=True,
    hold_seconds=86_400,
    hold_until=1_800_000_000,
    priority=True,
)


def run(data: bytes) -> None:
    head, said = data[:4].ljust(4, b"\0"), data[4:]
    lmtp = head[0] & 1 == 1
    whole = converse([said], lmtp, head[1])
    step = head[2] % 61 + 1
    assert converse([said[at : at + step] for at in range(0, len(said), step)], lmtp, head[1]) == whole
    check_replies(whole[1])
    check_order(whole[0], lmtp)
    check_proxy(said)


def converse(pieces: list[bytes], lmtp: bool, answers: int) -> tuple[list[events.Event], bytes, bool, bool]:
    core = SmtpCore("mx.example.com", LIMITS, OFFER, lmtp=lmtp)
    core.greet()
    found: list[events.Event] = []
    for piece in pieces:
        core.receive(piece)
        while (event := core.next_event()) is not None:
            answer(core, event, answers, len(found))
            if isinstance(event, events.Content) and found and isinstance(found[-1], events.Content):
                found[-1] = events.Content(found[-1].data + event.data)
            else:
                found.append(event)
        assert core.buffered <= LIMITS.auth_line + 2 or core.closed
    return found, core.output(), core.closed, core.mid_transaction


def answer(core: SmtpCore, event: events.Event, answers: int, number: int) -> None:
    """Yes, mostly; the bits of `answers` say where not."""
    while core.waiting is event:
        no = answers >> number % 8 & 1
        if no and isinstance(event, events.Auth | events.AuthResponse):
            core.challenge(b"go on")
        elif no and number % 3 == 0:
            core.reply(421, "4.3.2", "Service not available")
        elif no:
            core.reply(550, "5.7.1", "No")
        else:
            core.accept()


def check_replies(output: bytes) -> None:
    lines = output.split(b"\r\n")
    assert lines.pop() == b""
    code = b""
    for line in lines:
        assert len(line) <= 510 and line.isascii() and line.decode().isprintable(), line
        assert line[:3].isdigit() and line[3:4] in (b" ", b"-"), line
        assert not code or line.startswith(code), line
        code = line[:3] if line[3:4] == b"-" else b""
    assert not code


def check_order(found: list[events.Event], lmtp: bool) -> None:
    """A transaction goes Mail, Rcpt, Data, Content, ContentEnd; the size is what was given out, up to the limit."""
    place, given = "none", 0
    for event in found:
        match event:
            case events.Mail():
                assert event.size is None or event.size <= LIMITS.message_size
                assert event.smtputf8 or event.sender.is_ascii
                place = "mail"
            case events.Rcpt():
                assert place in ("mail", "rcpt")
                assert event.recipient.raw
                place = "rcpt"
            case events.Data():
                assert place == "rcpt"
                place, given = "data", 0
            case events.Content(data):
                assert place == "data" and data
                given += len(data)
                assert given <= LIMITS.message_size
            case events.ContentEnd(size, fault):
                assert place == "data" or fault == events.TOO_BIG
                assert size == given if fault != events.TOO_BIG else size > LIMITS.message_size
                place = "none"
            case events.Hello():
                assert not lmtp or event.esmtp
            case events.Quit():
                assert event is found[-1]


def check_proxy(data: bytes) -> None:
    try:
        header = parse(data)
    except ProxyError:
        return
    assert header is None or 0 < header.length <= min(len(data), MAX_V2)
    if header is None:
        assert len(data) < MAX_V2


def talk(first: bytes, *lines: bytes) -> bytes:
    return first + b"\r\n".join((*lines, b""))


HELLO = (b"EHLO client.example", b"MAIL FROM:<ada@example.org> SIZE=100 BODY=8BITMIME RET=FULL ENVID=a+2Bb")
RCPTS = (b"RCPT TO:<bob@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+40example.com", b"RCPT TO:<Postmaster>")

SEEDS = [
    talk(b"\0\0\5\0", *HELLO, *RCPTS, b"DATA", b"Subject: x", b"", b"..dot", b".", b"QUIT"),
    talk(b"\0\0\7\0", *HELLO, *RCPTS, b"BDAT 7", b"hello", b"BDAT 0 LAST", b"NOOP", b"QUIT"),
    talk(b"\1\0\3\0", b"LHLO c", *HELLO[1:], *RCPTS, b"DATA", b"one\n.\n", b"two\r.\r", b"\0", b".", b"RSET", b"QUIT"),
    talk(b"\1\20\1\0", b"LHLO c", *HELLO[1:], *RCPTS, b"BDAT 9 LAST", b"abc\r\n.\r\n", b"QUIT"),
    talk(b"\0\2\2\0", b"HELO c", b"AUTH LOGIN", b"YWRh", b"c2VjcmV0", b"AUTH PLAIN AGEAYg==", b"*", b"STARTTLS"),
    talk(b"\0\0\x11\0", b"EHLO [::1]", b"MAIL FROM:<\xc3\xa9@\xc3\xbc.example> SMTPUTF8", b'RCPT TO:<"a b"@[1.2.3.4]>'),
    talk(b"\0\0\x11\0", b"VRFY a", b"EXPN b", b"HELP", b"NOOP x", b"RSET", b"BDAT 5 LAST", b"QUIT", b"GET / HTTP/1.1"),
    talk(b"\0\0\x11\0", b"EHLO c", b"MAIL FROM:<a@b.c> HOLDUNTIL=2026-01-31T08:00:00Z BY=-5;NT MT-PRIORITY=-9"),
    talk(b"\0\0\x11\0", b"EHLO c", b"MAIL FROM:<a@b.c> HOLDFOR=60 BY=120;R MT-PRIORITY=3", b"RSET", b"QUIT"),
    b"\0\0\0\0PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\nEHLO c\r\n",
    b"\0\0\0\0\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x00\x19EHLO c\r\n",
]  # fmt: skip
WORDS = [
    *(verb.encode() + b" " for verb in COMMANDS), b"FROM:<", b"TO:<", b">", b" LAST\r\n", b"SIZE=", b"BODY=",
    b"SMTPUTF8", b"NOTIFY=NEVER", b"ORCPT=", b"ENVID=", b"AUTH=<>", b"RET=HDRS", b"+3D", b"[IPv6:", b"\r\n..",
    b"HOLDFOR=9", b"HOLDUNTIL=0001-01-01T00:00:00+14:00", b"HOLDUNTIL=2026-02-30T25:00:00+99:99",
    b"BY=1;R", b"MT-PRIORITY=0",
    b"DATA\r\n",
    b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n", b"BDAT 3\r\nabc", b"AUTH PLAIN\r\n", b"RSET\r\n", b"PROXY ",
]  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(run, SEEDS, WORDS))
