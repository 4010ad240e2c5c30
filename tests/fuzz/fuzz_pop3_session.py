"""Fuzzes the POP3 session, store and all: every line gets one reply, and only QUIT removes what was marked.

The first octet of an input says in which state the talk begins, the second how it is played, the next two seed the
splits; the rest is what the client says. Checked besides: replies are well formed, dots are stuffed, a maildrop has the
messages that it had at the login less those marked, and after the end the store has what the replies promised.
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

from pillarbox.mime.analysis import analyse
from pillarbox.session.pop3 import Pop3Session
from pillarbox.store import blobs, directory, mailboxes, messages
from pillarbox.store.flags import DELETED
from pillarbox.store.store import Store

RAW, SLOW, EXPUNGED, PIPELINED, ENDED = 1, 2, 4, 8, 32  # bits of the second octet

LOGIN = b"USER ada@example.com\r\nPASS secret\r\n"
STATES = (b"", b"", LOGIN, LOGIN + b"DELE 1\r\n", b"AUTH PLAIN\r\n", LOGIN + b"UTF8\r\nDELE 2\r\nDELE 3\r\n")
LISTS = {b"LIST", b"UIDL", b"LANG", b"AUTH"}  # many lines when nothing stands behind them
LONG = {b"RETR", b"TOP", b"CAPA"}
ALONE = {b"AUTH", b"STLS", b"QUIT"}

MAIL = (
    b"Subject: one\r\n\r\nHow about lunch?\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\n.",
    b"",
    b"no header, bare\nLF and \rCR and \0\r\n.\n.\r\n",
    b"Subject: long\r\n\r\n" + b".line\r\n" * 3000,
)


async def furnish(store: Store) -> None:
    ada = await store.write(directory.create_user, "ada@example.com", "ada@example.com", CHEAP.hash("secret"))

    def fill(tx: object) -> None:
        inbox = mailboxes.find(tx, ada.id, "INBOX")
        for number, content in enumerate(MAIL):
            message = messages.NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
            messages.append(tx, inbox.id, message, DELETED if number == 2 else 0, (), None)

    await store.write(fill)


async def uids(place: Place) -> list[int]:
    """The messages of ada's INBOX."""

    def read(tx: object) -> list[int]:
        inbox = mailboxes.find(tx, directory.user(tx, "ada@example.com").id, "INBOX")
        return list(messages.open_view(tx, inbox.id).uids)

    return await place.store.read(read)


class Talk:
    """What the client says and hears; `uids` are those of its maildrop, `marked` the numbers that it has deleted."""

    def __init__(self, client: Client, uids: list[int]) -> None:
        self.client = client
        self.uids = uids
        self.marked: set[int] = set()
        self.removed = False  # QUIT was answered with +OK
        self.logged_in = False

    async def hear(self) -> bytes:
        await self.client.settle()
        heard = bytes(self.client.wire.heard)
        self.client.wire.heard.clear()
        return heard

    def replies(self, heard: bytes, lines: list[bytes]) -> list[bytes]:
        """The first lines of the replies to these lines, one each; fewer when the server has closed."""
        found: list[bytes] = []
        rest = heard.split(b"\r\n")
        if rest.pop():
            raise Fault(f"half a line: {heard[-100:]!r}")
        rest.reverse()
        for line in lines:
            if not rest:
                break
            reply = rest.pop()
            found.append(reply)
            if not reply.startswith((b"+OK", b"-ERR", b"+ ")):
                raise Fault(f"no reply of POP3: {reply[:200]!r}")
            if reply.startswith(b"+OK") and self._many(line):
                while (text := rest.pop() if rest else None) != b".":
                    if text is None:
                        raise Fault("a reply of many lines has no end")
                    if text.startswith(b".") and not text.startswith(b".."):
                        raise Fault(f"a line begins with one dot: {text[:100]!r}")
        said_why = self.client.over and rest and rest[0].startswith(b"-ERR")
        if len(rest) > (1 if said_why else 0):
            raise Fault(f"more replies than commands: {rest[:3]!r}")
        if len(found) < len(lines) and not self.client.over:
            raise Fault(f"{len(lines)} commands, {len(found)} replies")
        return found

    def _many(self, line: bytes) -> bool:
        verb, _, rest = line.upper().partition(b" ")
        return (verb in LONG and self._replying) or (verb in LISTS and not rest.split())

    _replying = True  # lines are commands, not the responses of AUTH

    def note(self, line: bytes, reply: bytes) -> None:
        verb, _, rest = line.upper().partition(b" ")
        if not reply.startswith(b"+OK"):
            return
        if verb == b"PASS" or (verb == b"AUTH" and rest.split()):
            self.logged_in = True
        elif verb == b"DELE":
            self.marked.add(int(rest))
        elif verb == b"RSET":
            self.marked.clear()
        elif verb == b"QUIT":
            self.removed = self.logged_in
        elif verb == b"STAT":
            left = len(self.uids) - len(self.marked)
            if int(reply.split()[1]) != left:
                raise Fault(f"{reply!r} with {left} messages left")

    async def play(self, said: bytes, *, pipelined: bool = False) -> None:
        lines = said.split(b"\r\n")[:-1]  # what has no end is no line
        at = 0
        while at < len(lines) and not self.client.over:
            batch = [lines[at]]
            while pipelined and len(batch) < 8 and at + len(batch) < len(lines) and not _alone(batch[-1]):
                batch.append(lines[at + len(batch)])
            if _alone(batch[-1]) and len(batch) > 1:
                batch.pop()
            at += len(batch)
            await self.client.send(b"".join(line + b"\r\n" for line in batch))
            replies = self.replies(await self.hear(), batch)
            for line, reply in zip(batch, replies, strict=False):
                self.note(line, reply)
            exchange = batch[-1]
            while replies and replies[-1].startswith(b"+ ") and at < len(lines) and not self.client.over:
                await self.client.send(lines[at] + b"\r\n")
                self._replying = False
                replies = self.replies(await self.hear(), [b"\0" + lines[at]])
                self._replying = True
                at += 1
                if replies:
                    self.note(exchange, replies[0])


def _alone(line: bytes) -> bool:
    return line.split(b" ")[0].upper() in ALONE


async def played(place: Place, head: bytes, said: bytes) -> None:
    state, how = head[0] % len(STATES), head[1]
    before = await uids(place)
    client = place.client(Pop3Session(place.node), secured=state != 0, slow=bool(how & SLOW))
    talk = Talk(client, before)
    if not (await talk.hear()).startswith(b"+OK"):
        raise Fault("no greeting")
    await talk.play(STATES[state])
    gone: set[int] = set()
    if how & EXPUNGED and not how & RAW:  # somebody else removes what the session still shows
        gone = {before[2]}
        await place.store.write(remove, before[2])
        if not talk.logged_in:
            talk.uids = await uids(place)
    if how & RAW:
        await client.send(said)
        await client.settle()
    else:
        await talk.play(said, pipelined=bool(how & PIPELINED))
    if how & ENDED:
        client.end()
        await client.settle()
    if client.session.core.buffered > 1 << 17:
        raise Fault(f"{client.session.core.buffered} octets are held")
    client.wire.abort()
    await client.settle()
    if not how & RAW:
        wanted = gone | ({talk.uids[number - 1] for number in talk.marked} if talk.removed else set())
        after = await uids(place)
        if set(after) != set(before) - wanted:
            raise Fault(f"{before} became {after}, with {sorted(wanted)} to be removed")


def remove(tx: object, uid: int) -> None:
    inbox = mailboxes.find(tx, directory.user(tx, "ada@example.com").id, "INBOX")
    messages.expunge(tx, inbox.id, [uid])


PREMISES = Premises(furnish)


def run(data: bytes) -> None:
    head, said = data[:HEAD].ljust(HEAD, b"\0"), data[HEAD:]
    PREMISES.run(lambda place: played(place, head, said), int.from_bytes(head[2:], "big"))


SPOKEN = [
    line.encode() + b"\r\n"
    for line in (
        "STAT", "LIST", "LIST 1", "LIST 9", "UIDL", "UIDL 2", "RETR 1", "RETR 2", "RETR 4", "RETR 5", "TOP 1 0",
        "TOP 2 3", "TOP 5 999999", "DELE 1", "DELE 2", "DELE 4", "DELE 1", "RSET", "NOOP", "CAPA", "UTF8", "LANG",
        "LANG de", "AUTH", "AUTH PLAIN AGFkYUBleGFtcGxlLmNvbQBzZWNyZXQ=", "AUTH PLAIN",
        "AGFkYUBleGFtcGxlLmNvbQBzZWNyZXQ=", "*", "STLS",
        "AUTH SCRAM-SHA-256 biwsbj1hZGFAZXhhbXBsZS5jb20scj1mdXp6", "Yz1iaXdz", "USER ada@example.com", "PASS secret",
        "PASS wrong", "USER " + "x" * 240, "QUIT", "XTND", "", "TOP 1", "DELE 0", "DELE 99999999999", "APOP a b",
    )
]  # fmt: skip


def _edited(line: bytes, rng: random.Random) -> bytes:
    """Another number in it, or now and then other octets."""
    if rng.randrange(3) == 0:
        return mutate_octets(line, SPOKEN, SPOKEN, rng)
    number = rng.choice((b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"4294967296", b"-1"))
    return re.sub(rb"\d+", number, line, count=1)


def mutate(data: bytes, seeds: Sequence[bytes], dictionary: Sequence[bytes], rng: random.Random) -> bytes:
    return mutate_lines(data, HEAD, SPOKEN, _edited, rng)


def seeds() -> list[bytes]:
    found = [bytes((2, PIPELINED, 1, 0)) + b"".join(SPOKEN[:23]) + b"QUIT\r\n"]
    for path in sorted((Path(__file__).parents[1] / "dialogues").glob("pop3_*.txt")):
        for options, said in said_in(path):
            state = 2 if "state=transaction" in options else 1
            found.append(bytes((state, (0, PIPELINED, SLOW, EXPUNGED)[len(found) % 4], len(found) % 256, 0)) + said)
    return found


if __name__ == "__main__":
    sys.exit(main(run, seeds(), mutate=mutate))
