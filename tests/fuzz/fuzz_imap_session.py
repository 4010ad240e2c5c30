"""Fuzzes the IMAP session, store and all: whatever a client says in any state, it and others are served as promised.

The first octet of an input says in which state the talk begins, the second how it is played, the next two seed the
splits; the rest is what the client says. A client that keeps to the protocol waits for the continuation of a literal
and of IDLE; one that does not (RAW) sends everything as it is.

Checked: every command gets exactly one tagged reply, in order, or the connection ends with BYE; responses are well
formed; numbers of messages are told as RFC 9051 section 7.5 says; nothing is logged as an error, nothing stalls and
nothing is left over; the store passes its check; another session of the account ends with the view that it was told.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from driver import main
from imap_corpus import HEAD, POOL, Piece, command, mutate, said_in
from in_process import CHEAP, Client, Fault, Place, Premises

from pillarbox.imap.sequence import parse
from pillarbox.mime.analysis import analyse
from pillarbox.session.imap import ImapSession
from pillarbox.store import blobs, directory, mailboxes, messages, rights
from pillarbox.store.store import Store
from unit.session_imap.model_client import ModelClient

RAW, SLOW, OTHERS, PIPELINED, CUT, ENDED = 1, 2, 4, 8, 16, 32  # bits of the second octet

LOGIN = b"s1 LOGIN ada@example.com secret\r\n"
SELECT = LOGIN + b"s2 SELECT INBOX\r\n"
_EVENTS = b"(MessageNew MessageExpunge FlagChange)"
# What is said before the input: each state that a session may be in, the unfinished ones last.
STATES = (
    b"",  # without TLS
    b"",
    LOGIN,
    SELECT,
    LOGIN + b"s2 EXAMINE INBOX\r\n",
    LOGIN + b"s2 ENABLE QRESYNC\r\ns3 SELECT INBOX\r\n",
    LOGIN + b"s2 ENABLE UIDONLY QRESYNC\r\ns3 SELECT INBOX\r\n",
    LOGIN + b"s2 ENABLE UTF8=ACCEPT IMAP4rev2\r\ns3 SELECT INBOX\r\n",
    SELECT + b"s3 COMPRESS DEFLATE\r\n",
    SELECT + b"s3 NOTIFY SET STATUS (selected %b) (personal %b)\r\n" % (_EVENTS, _EVENTS),
    SELECT + b"s3 NOTIFY SET (selected-delayed %b) (subtree Sub (MailboxName))\r\n" % _EVENTS,
    SELECT + b"s3 IDLE\r\n",
    SELECT + b"s3 APPEND INBOX {50}\r\n",
    b"s1 AUTHENTICATE PLAIN\r\n",
    b"s1 AUTHENTICATE SCRAM-SHA-256\r\nbiwsbj1hZGFAZXhhbXBsZS5jb20scj1mdXp6\r\n",
    LOGIN + b's2 SELECT "Other Users/bob@example.com/Plans"\r\n',
    LOGIN + b"s2 LOGOUT\r\n",
    SELECT + b"s3 SEARCH SUBJECT {9}\r\n",
)

_TAG = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,255})(?= |\Z)")
_NAME = re.compile(rb"\S+ (UID )?([A-Za-z]+)", re.IGNORECASE)
_TAGGED = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+) (OK|NO|BAD) \S")
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE|FETCH|RECENT)\b")
ALONE = {b"IDLE", b"AUTHENTICATE", b"STARTTLS", b"COMPRESS", b"UNAUTHENTICATE", b"LOGOUT"}  # nothing is sent behind
_AT_ANY_TIME = re.compile(rb"\S+ NOTIFY SET .*\(selected ", re.IGNORECASE)  # then expunges too: RFC 5465 section 6.1.1
BY_NUMBER = {b"FETCH", b"STORE", b"SEARCH", b"SORT", b"THREAD"}  # tell no EXPUNGE, RFC 9051 section 7.5.1

MAIL = (
    b"From: Bob <bob@example.org>\r\nTo: ada@example.com\r\nSubject: Lunch\r\nDate: Mon, 7 Feb 2022 21:52:25 -0800\r\n"
    b"Message-ID: <1@example.org>\r\n\r\nHow about lunch?\r\n",
    b"Subject: Re: Lunch\r\nIn-Reply-To: <1@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nY2Fmw6k=\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\nFrom: x@example.org\r\n\r\ninner\r\n--b--\r\n",
    b"no header at all",
    b"Subject: =?utf-8?q?caf=C3=A9?=\r\nContent-Transfer-Encoding: base64\r\n\r\nnot base64!\r\n" * 40,
)


async def furnish(store: Store) -> None:
    """ada and bob; bob shares two mailboxes with her, one of them to be read only."""
    ada = await store.write(directory.create_user, "ada@example.com", "ada@example.com", CHEAP.hash("secret"))
    bob = await store.write(directory.create_user, "bob@example.com", "bob@example.com", CHEAP.hash("secret"))

    def fill(tx: object) -> None:
        plans = mailboxes.create(tx, bob.id, "Plans")
        mailboxes.create(tx, ada.id, "Sub/Deep")
        inbox = mailboxes.find(tx, bob.id, "INBOX")
        rights.change(tx, bob.id, inbox.id, "ada@example.com", "=", "lr")
        rights.change(tx, bob.id, plans.id, "ada@example.com", "=", "lrswitek")
        for box in (mailboxes.find(tx, ada.id, "INBOX"), plans, inbox):
            for content in MAIL:
                put(tx, box.id, content)

    await store.write(fill)


def put(tx: object, mailbox_id: int, content: bytes) -> None:
    message = messages.NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
    messages.append(tx, mailbox_id, message, 0, (), None)


class Talk:
    """What one client says and hears. `pending` holds (tag, command name in capitals) of what is not answered yet."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pending: deque[tuple[bytes | None, bytes]] = deque()
        self.strict = True  # every reply belongs to the oldest command
        self.at_any_time = False  # it has asked to be told of expunges while it uses numbers too
        self.asked = False  # a continuation has come since the client spoke
        self.whole = True  # the last command came to its end
        self.bye = False
        self.status = b""  # of the last reply
        self.count: int | None = None  # messages that the client knows of in its mailbox
        self._text = bytearray()
        self._deflate: zlib._Compress | None = None
        self._inflate: zlib._Decompress | None = None

    async def say(self, data: bytes) -> None:
        self.asked = False
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self.client.send(data)

    async def hear(self) -> list[bytes]:
        """Wait until the server has no more to say; its responses, all of which have been looked at."""
        await self.client.settle()
        heard = bytes(self.client.wire.heard)
        self.client.wire.heard.clear()
        self._text += heard if self._inflate is None else self._inflate.decompress(heard)
        found = []
        while (response := self._response()) is not None:
            self._look(response)
            found.append(response)
        if self._text:
            raise Fault(f"half a response: {bytes(self._text[:200])!r}")
        if self.client.over and not self.bye and self.strict:
            raise Fault("the server has closed without BYE")
        return found

    def _response(self) -> bytes | None:
        """The next response, literals inside, without its last CRLF."""
        at = 0
        while True:
            end = self._text.find(b"\r\n", at) + 2
            if end < 2:
                return None
            literal = _LITERAL.search(self._text[at:end])
            line = self._text[at:end]
            if b"\r" in line[:-2] or b"\n" in line[:-2]:
                raise Fault(f"an odd line end in {bytes(line)!r}")
            at = end
            if literal is None:
                response = bytes(self._text[: end - 2])
                del self._text[:end]
                return response
            at += int(literal[1])

    def _look(self, response: bytes) -> None:
        if self.bye and not response.endswith(b"OK LOGOUT completed"):
            raise Fault(f"after BYE: {response!r}")
        if response.startswith(b"+ "):
            self.asked = True
        elif response.startswith(b"* BAD "):
            self._answered(None, b"BAD")
        elif response.startswith(b"* "):
            self._untagged(response)
        elif found := _TAGGED.match(response):
            self._answered(found[1], found[2])
        else:
            raise Fault(f"no response of IMAP: {response!r}")

    def _answered(self, tag: bytes | None, status: bytes) -> None:
        self.status = status
        if not self.pending:
            if self.strict:
                raise Fault(f"a reply to nothing: {tag!r} {status!r}")
            return
        expected, name = self.pending.popleft()
        if self.strict and tag != expected:
            raise Fault(f"the reply to {tag!r} instead of {expected!r}")
        leaves = {b"OK": (b"CLOSE", b"UNSELECT", b"UNAUTHENTICATE"), b"NO": (b"SELECT", b"EXAMINE")}
        if name in leaves.get(status, ()):
            self.count = None
        if status == b"OK" and name == b"COMPRESS":
            self._deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
            self._inflate = zlib.decompressobj(-15)
        elif status == b"OK" and name == b"UNAUTHENTICATE":
            self._deflate = self._inflate = None

    def _untagged(self, response: bytes) -> None:
        name = self.pending[0][1] if self.pending else b""
        if response.startswith(b"* BYE"):
            self.bye = True
            if b"mistake" in response:
                raise Fault(f"{response!r}")
        elif response.startswith(b"* OK [CLOSED]"):
            self.count = None
        elif found := _NUMBERED.match(response):
            self._numbered(int(found[1]), found[2], name)
        elif response.startswith(b"* VANISHED ") and not response.startswith(b"* VANISHED (EARLIER)"):
            gone = sum(high - low + 1 for low, high in parse(response[11:]).ranges)
            self._gone(gone, name)

    def _numbered(self, number: int, what: bytes, name: bytes) -> None:
        if what == b"EXISTS":
            if name not in (b"SELECT", b"EXAMINE") and self.strict and number < (self.count or 0):
                raise Fault(f"EXISTS says {number} after {self.count}")
            self.count = number
        elif what == b"EXPUNGE":
            if self.strict and not 1 <= number <= (self.count or 0):
                raise Fault(f"EXPUNGE {number} of {self.count} messages")
            self._gone(1, name)
        elif what == b"FETCH" and self.strict and not 1 <= number <= (self.count or 0):
            raise Fault(f"FETCH {number} of {self.count} messages")

    def _gone(self, number: int, name: bytes) -> None:
        if name in BY_NUMBER and self.strict and not self.at_any_time:
            raise Fault(f"messages go while {name.decode()} is answered")
        if self.strict:
            self.count = (self.count or 0) - number
            if self.count < 0:
                raise Fault("more messages have gone than there were")

    def expect(self, pieces: list[Piece]) -> None:
        """A command goes out: one reply is owed."""
        line = pieces[0][0].removesuffix(b"\n").removesuffix(b"\r")
        line = line if pieces[0][1] is not None else line.rstrip(b" ")
        tag, name = _TAG.match(line), _NAME.match(line)
        self.at_any_time = self.at_any_time or _AT_ANY_TIME.match(line) is not None
        word = name[2].upper() if name else b""
        self.pending.append((tag[1] if tag else None, b"UID " + word if name and name[1] else word))

    async def play(self, said: bytes, *, pipelined: bool = False, between: object = None) -> None:
        """Say it as a client that keeps to the protocol. `between` is awaited now and then, between two commands."""
        at = 0
        while at < len(said) and not self.client.over:
            if callable(between):
                await between()
            pieces, at = command(said, at)
            self.whole = _ended(pieces)
            self.expect(pieces)
            if pipelined and _stands_alone(pieces):
                batch = [pieces]
                while at < len(said) and len(batch) < 8:
                    more, end = command(said, at)
                    if not _stands_alone(more):
                        break
                    self.expect(more)
                    batch.append(more)
                    at = end
                await self.say(b"".join(line + (literal or b"") for one in batch for line, literal, _ in one))
                await self.hear()
            else:
                at = await self._converse(pieces, said, at)
            self._settled(said, at)

    def _settled(self, said: bytes, at: int) -> None:
        if self.pending and not self.client.over and not (self.asked or at >= len(said)):
            raise Fault(f"no answer to {self.pending}")

    async def _converse(self, pieces: list[Piece], said: bytes, at: int) -> int:
        """One command and whatever it asks for; where the next one begins."""
        owed = len(self.pending)
        while True:
            for line, literal, asks in pieces:
                await self.say(line)
                if asks:
                    await self.hear()
                    if len(self.pending) < owed or self.client.over:
                        return at  # refused: the client gives up the rest
                    if not self.asked:
                        if literal or at < len(said):
                            raise Fault(f"neither a continuation nor a reply after {line[-80:]!r}")
                        return at
                if literal is not None:
                    await self.say(literal)
            await self.hear()
            if len(self.pending) < owed or self.client.over or not self.asked or at >= len(said):
                return at
            pieces, at = command(said, at)  # DONE, or the answer to a challenge
            self.whole = _ended(pieces)


def _ended(pieces: list[Piece]) -> bool:
    return pieces[-1][0].endswith(b"\n") and pieces[-1][1] is None


def _stands_alone(pieces: list[Piece]) -> bool:
    line = pieces[0][0]
    name = _NAME.match(line)
    return _ended(pieces) and not any(asks for _, _, asks in pieces) and not (name and name[2].upper() in ALONE)


class Other:
    """Another session of ada's, which believes what it is told about her INBOX, and changes it."""

    def __init__(self, place: Place) -> None:
        self.talk = Talk(place.client(ImapSession(place.node)))
        self.rng = place.rng
        self.model = ModelClient([])
        self._number = 0

    async def do(self, text: bytes) -> bytes:
        """The status of the reply."""
        self._number += 1
        self.talk.expect([(text, None, False)])
        self.talk.pending[-1] = (b"o%d" % self._number, b"")
        await self.talk.say(b"o%d %b\r\n" % (self._number, text))
        for response in await self.talk.hear():
            if response.startswith(b"* "):
                self.model.hear(response[2:])
        if self.talk.client.over:
            raise Fault("the other session was sent away")
        return self.talk.status

    async def begin(self) -> None:
        await self.talk.hear()
        for line in (b"LOGIN ada@example.com secret", b"ENABLE QRESYNC", b"SELECT INBOX", b"FETCH 1:* (UID FLAGS)"):
            await self.do(line)

    async def act(self) -> None:
        """Something, sometimes."""
        pick = self.rng
        lines = (
            b"STORE 1 +FLAGS (\\Deleted)", b"STORE 1:* FLAGS (\\Seen)", b"EXPUNGE", b"NOOP", b"COPY 1:* INBOX",
            b"APPEND INBOX {5+}\r\na: b\n", b"MOVE 1 Archive", b"FETCH 1:* (UID FLAGS)", b"CREATE New", b"DELETE New",
            b'COPY 1:* "Other Users/bob@example.com/Plans"', b"COPY 1 Archive", b"RENAME Sub New", b"RENAME New Sub",
            b"SETACL Sub bob@example.com lr", b"UNSUBSCRIBE Archive", b'SETMETADATA Archive (/private/comment "x")',
        )  # fmt: skip
        if pick.randrange(3) == 0:
            await self.do(pick.choice(lines))

    async def agree(self) -> None:
        """What it believes is what there is."""
        await self.do(b"NOOP")
        believed = dict(self.model.flags)
        if await self.do(b"UID FETCH 1:* (FLAGS)") != b"OK":
            raise Fault("the other session cannot fetch")
        if None in self.model.uids:
            raise Fault(f"the other session counts messages that are not there: {self.model.uids}")
        for uid in self.model.uids:
            if believed.get(uid, self.model.flags[uid]) != self.model.flags[uid]:
                raise Fault(f"UID {uid} has {self.model.flags[uid]!r}, and was said to have {believed[uid]!r}")


async def counted(talk: Talk) -> None:
    """The client knows how many messages its mailbox has."""
    if talk.client.over or talk.count is None or talk.pending or not talk.whole:
        return
    await talk.play(b"z1 NOOP\r\n")
    talk.pending.append((b"z2", b"UID SEARCH"))
    await talk.say(b"z2 UID SEARCH RETURN (COUNT) ALL\r\n")
    for response in await talk.hear():
        found = re.fullmatch(rb'\* ESEARCH \(TAG "z2"\) UID COUNT (\d+)', response)
        if found and int(found[1]) != talk.count:
            raise Fault(f"the client knows {talk.count} messages, and there are {int(found[1])}")


async def played(place: Place, head: bytes, said: bytes) -> None:
    state, how = head[0] % len(STATES), head[1]
    other = None
    if how & OTHERS:
        other = Other(place)
        await other.begin()
    client = place.client(ImapSession(place.node), secured=state != 0, slow=bool(how & SLOW))
    talk = Talk(client)
    if not (await talk.hear())[0].startswith(b"* OK "):
        raise Fault("no greeting")
    if how & CUT:
        said = said[: head[2] * 8]
    if how & RAW:
        await talk.play(STATES[state])
        talk.strict = False
        await talk.say(said)
    else:
        await talk.play(
            STATES[state] + said, pipelined=bool(how & PIPELINED), between=other.act if other is not None else None
        )
        await counted(talk)
    if how & ENDED:
        client.end()
    if how & RAW:
        try:
            await talk.hear()
        except zlib.error:
            if b"UNAUTHENTICATE" not in said.upper():  # which ends the compression in the middle of what is heard
                raise Fault("the server's stream is broken") from None
        except Fault as fault:
            if not str(fault).startswith("half a response") or not client.over:
                raise
    buffered = client.session.core.buffered
    if buffered > 1 << 17:
        raise Fault(f"{buffered} octets are held")
    if other is not None:
        await other.agree()


PREMISES = Premises(furnish)


def run(data: bytes) -> None:
    head, said = data[:HEAD].ljust(HEAD, b"\0"), data[HEAD:]
    PREMISES.run(lambda place: played(place, head, said), int.from_bytes(head[2:], "big"))


def seeds() -> list[bytes]:
    """Every state with the dialogues that begin in it, and each command of the pool alone."""
    found = []
    for path in sorted((Path(__file__).parents[1] / "dialogues").glob("imap_*.txt")):
        for options, said in said_in(path):
            state = 3 if "state=selected" in options else 2 if "state=authenticated" in options else 1
            found.append(bytes((state, (OTHERS, PIPELINED)[len(found) % 2], len(found) % 256, 0)) + said)
    for state in range(len(STATES)):
        found.append(
            bytes((state, OTHERS | (SLOW if state % 2 else 0), state, 1)) + b"DONE\r\n" + b"".join(POOL[state::16])
        )
    return found


if __name__ == "__main__":
    sys.exit(main(run, seeds(), mutate=mutate))
