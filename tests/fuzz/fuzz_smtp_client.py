"""Fuzz target of the SMTP client core: whatever a server says, in any split, ends in the same events and commands.

The first two octets of an input choose what the client wants and the split; the rest is what the server says. At each
`HANDSHAKE` TLS is set up, if the client waits for that. Checked besides: each transaction is decided once and for all
of its recipients, answers are printable, commands stay commands, nothing is kept that is not needed, a closed core says
and does nothing more.
"""

import re
import sys
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from driver import main

from pillarbox.smtp import client as c
from pillarbox.smtp import client_events as e
from pillarbox.smtp.answer import MAX_LINE, Answer, enhanced_of
from pillarbox.smtp.login import Login, ScramSha256
from pillarbox.smtp.outgoing import Recipient, Sender, limit, mail_line, rcpt_line, size_limit, takes_binary

RECIPIENTS = [Recipient("a@x.example", ("DELAY",), "utf-8;ü@x"), Recipient("b@x.example"), Recipient("c@x.example")]
SENDERS = [Sender("s@y.example", 10, ret="HDRS", priority=2, deliver_by=5), Sender("", body="BINARYMIME")]
COMMAND = re.compile(rb"(?:[A-Z]{4,8}(?: [^\r\n]*)?|[A-Za-z0-9+/=]*|\*)\r\n")
MOST_SENDS = 4
HANDSHAKE = b"\x16"  # what is said before it in plain is not heard after it, however it was split


def run(data: bytes) -> None:
    wants, step, said = data[0] if data else 0, data[1] % 61 + 1 if len(data) > 1 else 1, data[2:].split(HANDSHAKE)
    whole = converse([[part] for part in said], wants)
    assert converse([[part[at : at + step] for at in range(0, len(part), step)] for part in said], wants) == whole


def converse(parts: list[list[bytes]], wants: int) -> tuple[list[e.Event], bytes, bool, str]:
    """What the client makes of the pieces of each part, TLS being set up between two parts where it is asked for."""
    core = c.ClientCore("me.example", lmtp=wants & 1 == 1)
    mechanism = ScramSha256("ada", "x", "nonce") if wants & 2 else Login("ada", "x")
    found: list[e.Event] = []
    out = b""
    sends = dones = 0
    upgrading = False
    for piece in chain.from_iterable([*pieces, None] for pieces in parts):
        if piece is not None:
            core.receive(piece)
        elif upgrading and not core.closed:
            upgrading = False
            core.tls_started()
            core.hello()
        while (event := core.next_event()) is not None:
            found.append(event)
            match event:
                case e.Connected():
                    core.hello()
                case e.Introduced(extensions) if "STARTTLS" in extensions and wants & 4:
                    core.starttls()
                case e.Introduced(extensions) if "AUTH" in extensions and wants & 8:
                    core.auth(mechanism.name, mechanism.initial())
                case e.UpgradeTls():
                    upgrading = True
                case e.Challenge(challenge):
                    core.respond(mechanism.respond(challenge))
                case e.ContentWanted():
                    assert sends == dones + 1
                    core.content(b".text\r\n")
                    if not wants & 16:
                        core.end_content()
                case e.Done(answers, stages):
                    dones += 1
                    assert dones == sends and len(answers) == len(stages) == len(RECIPIENTS)
                    check(answers)
                case e.Failed(_, answer):
                    check([answer])
                    assert not answer.ok
            ready = isinstance(event, e.Introduced | e.Authenticated | e.Done)
            if ready and not core.closed and not core.awaiting and sends < MOST_SENDS:
                size_limit(core.extensions), limit(core.extensions, "RCPTMAX")
                sender, offered = SENDERS[wants >> 5 & 1], core.extensions
                core.send(
                    mail_line(sender, offered),
                    [rcpt_line(recipient, offered) for recipient in RECIPIENTS],
                    chunked=sender.body == "BINARYMIME" and takes_binary(offered),
                )
                sends += 1
            out += core.output()
        assert len(core._in) <= MAX_LINE + 2 or core.closed or core._deaf
    check_commands(out)
    closed = core.closed
    core.give_up("LOST", Answer(421, "4.4.2", ("gone",)))
    while (event := core.next_event()) is not None:
        dones += isinstance(event, e.Done)
    assert dones == sends
    core.receive(b"250 ok\r\n")
    assert core.next_event() is None
    return found, out, closed, core.awaiting


def check(answers: list[Answer] | tuple[Answer, ...]) -> None:
    for answer in answers:
        assert 200 <= answer.code < 600 and answer.text.isprintable()
        assert enhanced_of(answer, "RCPT")[0] == str(answer.code)[0]


def check_commands(out: bytes) -> None:
    """Every line is a command, an answer to a challenge, or content."""
    for line in out.replace(b"..text\r\n", b"").replace(b".\r\n", b"").replace(b".text\r\n", b"").splitlines(True):
        assert COMMAND.fullmatch(line), line


EHLO = (
    b"250-mx\r\n250-PIPELINING\r\n250-SIZE 100\r\n250-DSN\r\n250-AUTH LOGIN SCRAM-SHA-256\r\n250-LIMITS RCPTMAX=5\r\n"
)
GOOD = b"250 2.1.0 ok\r\n" * 4 + b"354 go\r\n250 2.0.0 taken\r\n"
SEEDS = [
    bytes((wants, step)) + b"220 mx\r\n" + said
    for wants, step, said in (
        (0, 5, EHLO + b"250 CHUNKING\r\n" + GOOD * 2 + b"421 bye\r\n"),
        (1, 5, EHLO + b"250 8BITMIME\r\n" + GOOD + b"250 ok\r\n550 5.1.1 no\r\n" + GOOD),
        (4, 7, EHLO + b"250 STARTTLS\r\n220 go\r\n250 plain\r\n" + HANDSHAKE + EHLO + b"250 X\r\n" + GOOD),
        (8, 3, EHLO + b"250 X\r\n334 VXNlcg==\r\n334 UGFzcw==\r\n235 2.7.0 in\r\n" + GOOD),
        (10, 3, EHLO + b"250 X\r\n334 cj1ub25jZVgscz1BQUFBLGk9MQ==\r\n535 5.7.8 no\r\n" + GOOD),
        (16, 2, EHLO + b"250 X\r\n" + GOOD[:-17] + b"552 5.3.4 too big\r\n"),
        (32, 2, EHLO + b"250-CHUNKING\r\n250 BINARYMIME\r\n" + b"250 ok\r\n" * 9 + b"552 no\r\n250 ok\r\n"),
        (0, 2, b"502 what\r\n250 HELO it is\r\n250 ok\r\n550 no\r\n550 no\r\n550 no\r\n250 reset\r\n"),
        (0, 2, EHLO + b"250 X\r\n250 ok\r\n550 no\r\n550 no\r\n452 full\r\n354 go\r\n554 nobody\r\n"),
        (0, 2, EHLO + b"250 X\r\n550 no\r\n503 a\r\n503 b\r\n503 c\r\n503 d\r\n"),
    )
]
WORDS = [
    b"250 ok\r\n", b"250-", b"354 go\r\n", b"421 4.3.2 bye\r\n", b"550 5.1.1 no\r\n", b"452 4.5.3 enough\r\n",
    b"334 ", b"235 ok\r\n", b"220 go\r\n", b"503 x\r\n", b"999 \r\n", b"250\r\n", b"STARTTLS", b"AUTH=LOGIN", b"SIZE ",
]  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(run, SEEDS, WORDS))
