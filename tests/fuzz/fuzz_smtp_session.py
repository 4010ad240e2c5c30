"""Fuzzes the SMTP session, store and all, in each role: every command gets one reply, and 250 means stored.

The first octet of an input chooses the role and the state in which the talk begins, the second how it is played, the
next two seed the splits; the rest is what the client says. Checked besides: replies are well formed; a message that was
acknowledged is in a mailbox or the queue, one that was not is nowhere; no memory and no unfinished message is left.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from driver import main, mutate_lines
from driver import mutate as mutate_octets
from imap_corpus import HEAD, said_in
from in_process import CHEAP, Client, Fault, Place, Premises

from pillarbox.access.limits import Role
from pillarbox.session.smtp import SmtpSession
from pillarbox.store import directory
from pillarbox.store.store import Store

RAW, SLOW, CUT, PIPELINED, ENDED = 1, 2, 4, 8, 32  # bits of the second octet

EHLO = b"EHLO client.example\r\n"
LOGIN = EHLO + b"AUTH PLAIN AGFkYUBleGFtcGxlLmNvbQBzZWNyZXQ=\r\n"
MAIL = b"MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.com>\r\n"
# Role, with TLS, and what is said before the input.
STATES = (
    (Role.SMTP, False, b""),
    (Role.SMTP, True, EHLO),
    (Role.SMTP, False, EHLO + b"MAIL FROM:<x@example.org>\r\n"),
    (Role.SMTP, False, EHLO + b"MAIL FROM:<>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n"),
    (Role.SUBMISSION, False, EHLO),
    (Role.SUBMISSION, True, LOGIN),
    (Role.SUBMISSION, True, LOGIN + MAIL),
    (Role.SUBMISSION, True, LOGIN + MAIL + b"DATA\r\n"),
    (Role.SUBMISSION, True, EHLO + b"AUTH LOGIN\r\n"),
    (Role.LMTP, False, b"LHLO c\r\n" + MAIL + b"RCPT TO:<ada@example.com>\r\n"),
)
ALONE = {b"DATA", b"AUTH", b"STARTTLS", b"QUIT", b"BDAT"}
_CHUNK = re.compile(r"(?i:BDAT) ([0-9]+)(?: +((?i:LAST))\Z|(?: |\Z))")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REPLY = re.compile(rb"[2-5][0-9][0-9][ -][^\r\n]*\Z")


async def furnish(store: Store) -> None:
    for name in ("ada@example.com", "bob@example.com"):
        await store.write(directory.create_user, name, name, CHEAP.hash("secret"))


async def stored(place: Place) -> int:
    """Rows of messages and of the queue."""
    queries = ("SELECT count(*) FROM messages", "SELECT count(*) FROM message_queue")
    return await place.store.read(lambda tx: sum(tx.rows(query)[0][0] for query in queries))


class Talk:
    """What the client says and hears."""

    def __init__(self, client: Client, *, lmtp: bool) -> None:
        self.client = client
        self.lmtp = lmtp
        self.recipients = 0  # accepted in this transaction
        self.acknowledged = 0  # transactions with a 250 at their end
        self.pending: list[bytes] = []

    async def hear(self) -> list[int]:
        """The codes of the replies that have come."""
        await self.client.settle()
        heard = bytes(self.client.wire.heard)
        self.client.wire.heard.clear()
        lines = heard.split(b"\r\n")
        if lines.pop():
            raise Fault(f"half a line: {heard[-100:]!r}")
        codes: list[int] = []
        begun = b""
        for line in lines:
            if not _REPLY.match(line) or (begun and not line.startswith(begun)):
                raise Fault(f"no reply of SMTP: {line[:200]!r}")
            begun = line[:3] if line[3:4] == b"-" else b""
            if not begun:
                codes.append(int(line[:3]))
        if begun:
            raise Fault("a reply has no end")
        return codes

    async def answers(self, sent: int) -> list[int]:
        """The replies to so many commands; one more, or fewer, only from a server that closes with 421."""
        codes = await self.hear()
        if self.client.over:
            return codes[:sent]
        if len(codes) != sent:
            raise Fault(f"{sent} commands, and the replies {codes}")
        return codes

    async def play(self, said: bytes, *, pipelined: bool = False) -> None:
        at = 0
        while at < len(said) and not self.client.over:
            batch = []
            while not batch or (pipelined and len(batch) < 8 and not _alone(batch[-1])):
                end = said.find(b"\r\n", at) + 2
                if end < 2:
                    await self.client.send(said[at:])  # a line that never ends
                    await self.client.settle()
                    return
                if batch and _alone(said[at:end]):
                    break
                batch.append(said[at:end])
                at = end
                if at >= len(said):
                    break
            chunk = _chunk(batch[-1])
            octets = said[at : at + int(chunk[1])] if chunk else b""
            at += len(octets)
            if chunk and len(octets) < int(chunk[1]):
                octets += bytes(min(40_000, int(chunk[1]) - len(octets)))
                if len(octets) < int(chunk[1]):
                    return  # more than a client sends here
            await self.client.send(b"".join(batch) + octets)
            at = await self._answered(batch, said, at)

    async def _answered(self, batch: list[bytes], said: bytes, at: int) -> int:
        if self.lmtp and (chunk := _chunk(batch[-1])) and chunk[2]:  # a reply for each recipient
            codes = await self.hear()
            if len(codes) not in (1, self.recipients) and not self.client.over:
                raise Fault(f"{codes} at the end of a message to {self.recipients}")
            self._ended(codes)
            return at
        codes = await self.answers(len(batch))
        for line, code in zip(batch, codes, strict=False):
            self._note(line, code)
        while codes and codes[-1] == 334 and at < len(said) and not self.client.over:
            end = said.find(b"\r\n", at) + 2
            if end < 2:
                return len(said)
            await self.client.send(said[at:end])
            at = end
            codes = await self.answers(1)
        if codes and codes[-1] == 354 and not self.client.over:
            rest = said[at:] + b"\r\n.\r\n"  # a message that has no end gets one
            found = re.search(rb"(\A|\r\n)\.\r\n", rest)
            assert found is not None
            await self.client.send(rest[: found.end()])
            at = min(at + found.end(), len(said))
            ends = await self.hear()
            if not self.client.over and len(ends) != (self.recipients if self.lmtp else 1):
                raise Fault(f"{ends} at the end of a message to {self.recipients}")
            self._ended(ends)
        return at

    def _note(self, line: bytes, code: int) -> None:
        verb = line[:4].upper()
        if verb == b"RCPT" and code in (250, 251):
            self.recipients += 1
        elif code == 250 and verb in (b"EHLO", b"HELO", b"LHLO", b"RSET", b"MAIL"):
            self.recipients = 0
        elif (chunk := _chunk(line)) and chunk[2] and code == 250:
            self._ended([code])

    def _ended(self, codes: list[int]) -> None:
        if 250 in codes and self.recipients:
            self.acknowledged += 1
        self.recipients = 0


def _chunk(line: bytes) -> re.Match[str] | None:
    """The size and LAST of a BDAT behind which its octets come, right or wrong (RFC 3030 section 2)."""
    text = line.decode("utf-8", "surrogateescape").removesuffix("\r\n").rstrip(" \t")
    if len(line) > 500 or _CONTROL.search(text) or not text.isprintable():
        return None
    return _CHUNK.match(text)


def _alone(line: bytes) -> bool:
    return line[:8].split()[:1] != [] and line.split()[0].upper() in ALONE


async def played(place: Place, head: bytes, said: bytes) -> None:
    (role, secured, first), how = STATES[head[0] % len(STATES)], head[1]
    client = place.client(SmtpSession(place.node, role), secured=secured, slow=bool(how & SLOW))
    talk = Talk(client, lmtp=role is Role.LMTP)
    if await talk.hear() != [220]:
        raise Fault("no greeting")
    if how & CUT:
        said = said[: head[2] * 8]
    if how & RAW:
        await client.send(first + said)
        await client.settle()
        await talk.hear()
    else:
        await talk.play(first + said, pipelined=bool(how & PIPELINED))
    if how & ENDED:
        client.end()
        await client.settle()
    if client.session.core.buffered > 1 << 17:
        raise Fault(f"{client.session.core.buffered} octets are held")
    client.wire.abort()
    await client.settle()
    rows = await stored(place)
    if not how & RAW and rows < talk.acknowledged:
        raise Fault(f"{talk.acknowledged} messages were acknowledged, and {rows} are there")
    if not how & RAW and rows and not talk.acknowledged:
        raise Fault("a message was stored and not acknowledged")


PREMISES = Premises(furnish, rate_limit_per_ip=1_000_000, rate_limit_per_user=1_000_000)


def run(data: bytes) -> None:
    head, said = data[:HEAD].ljust(HEAD, b"\0"), data[HEAD:]
    PREMISES.run(lambda place: played(place, head, said), int.from_bytes(head[2:], "big"))


MESSAGE = b"From: <ada@example.com>\r\nTo: bob@example.com\r\nSubject: x\r\n\r\nhello\r\n"
SPOKEN = [
    line.encode() + b"\r\n"
    for line in (
        "EHLO c", "HELO c", "LHLO c", "NOOP", "RSET", "VRFY ada", "EXPN x", "HELP", "QUIT", "STARTTLS", "",
        "MAIL FROM:<ada@example.com>", "MAIL FROM:<>", "MAIL FROM:<x@example.org> SIZE=100 BODY=8BITMIME",
        "MAIL FROM:<ada@example.com> SMTPUTF8 RET=HDRS ENVID=a", "MAIL FROM:<ada@example.com> HOLDFOR=60",
        "MAIL FROM:<ada@example.com> SIZE=999999", "MAIL FROM:<ada@example.com> BODY=BINARYMIME",
        "RCPT TO:<bob@example.com>", "RCPT TO:<ada@example.com> NOTIFY=SUCCESS,DELAY", "RCPT TO:<x@example.net>",
        "RCPT TO:<nobody@example.com>", "RCPT TO:<postmaster>", "RCPT TO:<bob+tag@example.com>", "DATA",
        "AUTH PLAIN AGFkYUBleGFtcGxlLmNvbQBzZWNyZXQ=", "AUTH PLAIN", "AUTH LOGIN", "YWRhQGV4YW1wbGUuY29t", "c2VjcmV0",
        "AUTH SCRAM-SHA-256 biwsbj1hZGFAZXhhbXBsZS5jb20scj1mdXp6", "*", "BDAT 0 LAST", "BDAT 999999 LAST", ".",
        "GET / HTTP/1.1",
    )
]  # fmt: skip
SPOKEN += [
    b"DATA\r\n" + MESSAGE + b".\r\n",
    b"BDAT %d LAST\r\n%b" % (len(MESSAGE), MESSAGE),
    b"BDAT 20\r\n%bBDAT %d LAST\r\n%b" % (MESSAGE[:20], len(MESSAGE) - 20, MESSAGE[20:]),
    MAIL + b"DATA\r\n" + MESSAGE + b".\r\n",
    MAIL + b"DATA\r\nFrom: <eve@example.net>\r\n\r\n..\r\n.\r\n",
    b"DATA\r\n" + b"x" * 21_000 + b"\r\n.\r\n",
    b"DATA\r\na\n.\nb\r.\r\0\r\n.\r\n",
]


def _edited(line: bytes, rng: random.Random) -> bytes:
    return mutate_octets(line, SPOKEN, SPOKEN, rng)


def mutate(data: bytes, seeds: Sequence[bytes], dictionary: Sequence[bytes], rng: random.Random) -> bytes:
    return mutate_lines(data, HEAD, SPOKEN, _edited, rng)


def seeds() -> list[bytes]:
    found = [
        bytes((state, PIPELINED, 1, 0)) + b"".join(SPOKEN[11:24]) + MESSAGE + b".\r\nQUIT\r\n" for state in range(10)
    ]
    for path in sorted((Path(__file__).parents[1] / "dialogues").glob("smtp_*.txt")):
        for options, said in said_in(path):
            state = 9 if "lmtp" in options else 4 if "submission" in path.name else len(found) % 3
            found.append(bytes((state, (0, PIPELINED, SLOW)[len(found) % 3], len(found) % 256, 0)) + said)
    return found


if __name__ == "__main__":
    sys.exit(main(run, seeds(), mutate=mutate))
