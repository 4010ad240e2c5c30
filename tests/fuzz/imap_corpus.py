"""What clients say by IMAP: the commands of the dialogues and more of each kind, and edits that know their words."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from driver import MAX_INPUT
from driver import mutate as mutate_octets

from dialogues.player import conversations

HEAD = 4  # octets of an input that say how it is played

_ANNOUNCED = re.compile(rb"\{([0-9]{1,40})(\+?)\}\r?\n\Z")
_TOKEN = re.compile(rb'"(?:[^"\\\r\n]|\\.)*"|\\?[A-Za-z][A-Za-z0-9.\-=/]*|[0-9]+(?:[:,][0-9*$]+)*|[()\[\]<>$*%]')

Piece = tuple[bytes, bytes | None, bool]


def command(stream: bytes, at: int) -> tuple[list[Piece], int]:
    """The command that begins at `at`, and where the next one does.

    A piece is a line with its end, the literal that it announces, and whether the server is to be asked for it. The
    last line of an input may lack its end, a literal its octets.
    """
    pieces: list[Piece] = []
    while True:
        end = stream.find(b"\n", at) + 1
        line = stream[at : end or len(stream)]
        found = _ANNOUNCED.search(line)
        if found is None:
            pieces.append((line, None, False))
            return pieces, at + len(line)
        literal = stream[end : end + int(found[1])]
        pieces.append((line, literal, not found[2]))
        at = end + len(literal)
        if at >= len(stream):
            return pieces, at


def commands(stream: bytes) -> list[bytes]:
    """All of them, each with its literals."""
    found, at = [], 0
    while at < len(stream):
        _, end = command(stream, at)
        found.append(stream[at:end])
        at = end
    return found


def said_in(path: Path) -> list[tuple[str, bytes]]:
    """(options, what the client says) of each conversation of a file."""
    talks = []
    for _, lines in conversations(path):
        octets = b""
        for line in lines:
            who, _, text = line.partition(" ")
            if who == "C:":
                times = re.match(r"\|(\d+)\| ", text)
                octets += (text[times.end() :] if times else text).encode() + b"\r\n"
            elif who == "C>":
                octets += text.encode().decode("unicode_escape").encode("latin-1")
        talks.append((lines[0], octets[:4000]))
    return talks


SPOKEN = rb"""a NOOP
a CAPABILITY
a ID ("name" "fuzz" "version" NIL)
a NAMESPACE
a LOGOUT
a UNAUTHENTICATE
a LOGIN ada@example.com secret
a LOGIN bob@example.com secret
a LOGIN {15}
ada@example.com {6+}
secret
a AUTHENTICATE PLAIN AGFkYUBleGFtcGxlLmNvbQBzZWNyZXQ=
a AUTHENTICATE PLAIN
AGJvYkBleGFtcGxlLmNvbQBzZWNyZXQ=
a AUTHENTICATE LOGIN
*
a AUTHENTICATE SCRAM-SHA-256
biwsbj1hZGFAZXhhbXBsZS5jb20scj1mdXp6
Yz1iaXdz
a AUTHENTICATE OAUTHBEARER bixhPWFkYUBleGFtcGxlLmNvbSwBYXV0aD1CZWFyZXIgeAEB
a STARTTLS
a COMPRESS DEFLATE
a ENABLE QRESYNC
a ENABLE UTF8=ACCEPT IMAP4rev2
a ENABLE UIDONLY
a ENABLE CONDSTORE IMAP4rev2
a SELECT INBOX
a SELECT INBOX (CONDSTORE)
a SELECT Archive (QRESYNC (1 1 1:9 (1,3 1,3)))
a SELECT "Other Users/bob@example.com/INBOX"
a EXAMINE INBOX
a EXAMINE "Other Users/bob@example.com/Plans"
a SELECT Entw&APw-rfe
a CREATE Sub/Deep/er
a CREATE Work (USE (\\Archive))
a CREATE "Other Users/bob@example.com/Plans/mine"
a DELETE Archive
a DELETE Sub
a DELETE INBOX
a RENAME INBOX Old
a RENAME Archive Sub/Archive
a RENAME "Other Users/bob@example.com/Plans" Mine
a SUBSCRIBE Archive
a UNSUBSCRIBE Archive
a LIST "" "*"
a LIST (SUBSCRIBED RECURSIVEMATCH) "" ("*" "%/%") RETURN (CHILDREN SPECIAL-USE STATUS (SIZE UIDNEXT HIGHESTMODSEQ))
a LIST "" "%" RETURN (MYRIGHTS METADATA (/private/comment /shared/comment))
a LIST (REMOTE) "Other Users/" "*"
a LSUB "" "*"
a STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE RECENT HIGHESTMODSEQ MAILBOXID DELETED-STORAGE)
a STATUS "Other Users/bob@example.com/INBOX" (MESSAGES)
a APPEND INBOX (\\Seen todo) " 7-Feb-1994 21:52:25 -0800" {24}
Subject: new\r\n\r\nA text\r\n
a APPEND INBOX {24+}
Subject: new\r\n\r\nA text\r\n
a APPEND Archive (\\Draft) ~{10+}
a: b\r\n\r\n\x00x (\\Seen) {8+}
c: d\r\n\r\n
a APPEND INBOX CATENATE (URL "/INBOX/;UID=1/;SECTION=HEADER" TEXT {7+}
hello
)
a APPEND INBOX CATENATE (TEXT {7}
hello
 URL "/INBOX;UIDVALIDITY=9/;UID=2")
a APPEND INBOX UTF8 (~{9+}
\xc3\xa9: x\r\n\r\n)
a APPEND Missing {3+}
abc
a IDLE
DONE
a IDLE
NOOP
a CHECK
a CLOSE
a UNSELECT
a EXPUNGE
a UID EXPUNGE 1:3
a FETCH 1:* (FLAGS UID RFC822.SIZE INTERNALDATE)
a FETCH 1:* ALL
a FETCH 1 FULL
a FETCH 2 (BODY[] BODY[HEADER] BODY[TEXT] BODY[1] BODY[2.MIME] BODY[1.2.HEADER.FIELDS (Subject From)])
a FETCH 1:3 (BODY.PEEK[HEADER.FIELDS.NOT (To)]<2.20> BINARY[2] BINARY.SIZE[2] BINARY.PEEK[1]<1.5>)
a FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT)
a UID FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY MODSEQ SAVEDATE PREVIEW EMAILID THREADID)
a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 2 VANISHED)
a UID FETCH 1:* (FLAGS PARTIAL 1:2)
a UID FETCH 1:* (UID PREVIEW (LAZY)) (PARTIAL -1:-3)
a FETCH $ (UID)
a STORE 1 +FLAGS (\\Deleted)
a STORE 1:2 FLAGS (\\Seen todo $Important)
a STORE 2:* -FLAGS.SILENT (\\Seen)
a UID STORE 1:9 +FLAGS.SILENT (\\Flagged)
a UID STORE 1,3 (UNCHANGEDSINCE 1) FLAGS (\\Draft)
a COPY 1:2 Archive
a UID COPY 2 INBOX
a COPY 1 Missing
a MOVE 1 Archive
a UID MOVE 1:2 "Other Users/bob@example.com/Plans"
a MOVE 2 INBOX
a REPLACE 1 INBOX (\\Seen) {10+}
x: y\r\n\r\nzz
a UID REPLACE 2 Archive {8+}
x: y\r\n\r\n
a SEARCH ALL
a SEARCH RETURN (MIN MAX COUNT ALL SAVE) UNDELETED
a SEARCH RETURN (PARTIAL 1:2 COUNT) SINCE 1-Feb-1994
a UID SEARCH RETURN (UPDATE) UNSEEN
a SEARCH CHARSET UTF-8 TEXT {5+}
caf\xc3\xa9
a SEARCH OR (FROM bob SUBJECT lunch) NOT (BODY "how" LARGER 10) KEYWORD todo
a SEARCH FUZZY SUBJECT lunch HEADER Message-ID "" YOUNGER 100 MODSEQ 1 SAVEDSINCE 1-Feb-1994
a UID SEARCH UID 1:* SMALLER 99999 EMAILID M1 THREADID T1 FILTER none
a SORT (REVERSE DATE SUBJECT DISPLAYFROM SIZE) UTF-8 ALL
a UID SORT RETURN (COUNT PARTIAL 1:2) (ARRIVAL) UTF-8 UNDELETED
a SORT RETURN (UPDATE ALL) (CC) UTF-8 ALL
a CANCELUPDATE "a"
a THREAD REFERENCES UTF-8 ALL
a UID THREAD ORDEREDSUBJECT UTF-8 SUBJECT lunch
a ESEARCH IN (mailboxes (INBOX Archive) subtree Sub personal) RETURN (COUNT ALL) SUBJECT "lunch"
a ESEARCH IN (selected) UNSEEN
a UIDBATCHES 500
a UIDBATCHES 500 1:3
a GETQUOTAROOT INBOX
a GETQUOTA ""
a SETQUOTA "" (STORAGE 10)
a GETMETADATA "" /shared/comment
a GETMETADATA (DEPTH infinity MAXSIZE 5) INBOX (/private /shared/comment)
a SETMETADATA INBOX (/private/comment "hello" /private/x ~{3+}
a\x00b)
a SETMETADATA INBOX (/private/comment NIL)
a SETMETADATA "" (/private/filters/values/mine "SUBJECT lunch")
a SEARCH FILTER mine
a SETACL Archive bob@example.com lrswi
a SETACL INBOX bob@example.com +t
a SETACL "Other Users/bob@example.com/Plans" ada@example.com -r
a DELETEACL Archive bob@example.com
a GETACL INBOX
a LISTRIGHTS INBOX bob@example.com
a MYRIGHTS "Other Users/bob@example.com/INBOX"
a GENURLAUTH "imap://ada%40example.com@mx.example.com/INBOX/;UID=1;URLAUTH=anonymous" INTERNAL
a RESETKEY
a RESETKEY INBOX INTERNAL
a URLFETCH "imap://ada%40example.com@mx.example.com/INBOX/;UID=1;URLAUTH=anonymous:internal:00"
a NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge))
a NOTIFY SET (selected-delayed (MessageNew MessageExpunge)) (inboxes (MessageNew MessageExpunge FlagChange MailboxName))
a NOTIFY SET (mailboxes (INBOX Archive) (MessageNew MessageExpunge)) (subtree Sub (MailboxName SubscriptionChange))
a NOTIFY NONE
a SELECT INBOX (ANNOTATE)
a FETCH 1:* (ANNOTATION (/* (value.priv size.priv)))
a FETCH 1 (ANNOTATION (("/comment" "/altsubject") (value size)))
a STORE 1 ANNOTATION (/comment (value.priv "mine" value.shared NIL))
a UID STORE 1:2 ANNOTATION (/altsubject (value.priv {3+}
abc))
a SEARCH ANNOTATION /comment value "mine"
a SORT (ANNOTATION /comment value.priv) UTF-8 ALL
a APPEND INBOX ANNOTATION (/comment (value.priv "x")) {3+}
abc
a CONVERT 1 ("text/plain") BODY[1]
a XYZZY
a
"""

# Octets that are no text, and line ends within literals, are spelt out.
_COMMANDS = SPOKEN.decode().replace("\n", "\r\n").encode().decode("unicode_escape").encode("latin-1")
POOL = [*commands(_COMMANDS), b"a APPEND INBOX {30000}\r\n", b"a APPEND INBOX {300+}\r\nabc\r\n"]

OCTETS = [b'"', b"(", b")", b"\\", b"{", b"*", b"\xff", b"\0", b"\r", b"\n", b" ", b"%", b"]", b"<"]
NUMBERS = [b"0", b"1", b"2", b"3", b"9", b"4294967295", b"4294967296", b"9223372036854775807", b"99999999999999999999"]
SETS = [b"1:*", b"*", b"1,1,2:3", b"3:1", b"$", b"4294967295:*", b"1:4294967295", b"2,*:9", b",".join([b"1"] * 300)]
NAMES = [
    b"INBOX", b"inbox", b"Archive", b'"Other Users/bob@example.com/INBOX"', b'"Other Users/bob@example.com/Plans"',
    b'""', b"Sub/Deep", b"a//b", b"/x", b'"a b"', b"&AOk-", b"&AOk", b'"\xc3\xa9"', b'"Other Users"', b"Trash", b"Old",
    b"*", b"x" * 300,
]  # fmt: skip
FLAGS = [b"\\Seen", b"\\Deleted", b"\\Recent", b"\\*", b"todo", b"$Important", b"NonJunk", b"\\", b"k" * 60]
_KINDS = (NUMBERS, SETS, NAMES, FLAGS)


def _tokens(pool: Sequence[bytes]) -> list[bytes]:
    return sorted({token for text in pool for token in _TOKEN.findall(text) if len(token) < 100})


TOKENS = _tokens(POOL)


def mutate(data: bytes, seeds: Sequence[bytes], dictionary: Sequence[bytes], rng: random.Random) -> bytes:
    """Some edits of whole commands and of the words in them; now and then of octets, and of how the input is played."""
    head = bytearray(data[:HEAD].ljust(HEAD, b"\0"))
    for at in range(HEAD):
        if rng.randrange(3) == 0:
            head[at] = rng.randrange(256)
    said = commands(data[HEAD:])
    for _ in range(1 << rng.randrange(4)):
        at = rng.randint(0, len(said))
        match rng.randrange(13):
            case 0 | 1 | 2:
                said.insert(at, rng.choice(POOL))
            case 3:  # a piece of another talk
                other = commands(rng.choice(seeds)[HEAD:])
                begin = rng.randint(0, len(other))
                said[at:at] = other[begin : begin + rng.randint(1, 5)]
            case 4:
                del said[at : at + rng.randint(1, 3)]
            case 5:
                said[at:at] = said[at : at + 2] * rng.choice((1, 1, 2, 8))
            case 6:
                rng.shuffle(said)
            case 7:  # a few commands many times in turns: what they make together builds up
                few = rng.sample(POOL, rng.randint(2, 4))
                said[at:at] = rng.choices(few, k=rng.randint(3, 20))
            case _ if said:
                at = rng.randrange(len(said))
                said[at] = _edited(said[at], rng)
    out = b"".join(said)
    if rng.randrange(8) == 0:
        out = mutate_octets(out, [seed[HEAD:] for seed in seeds[:50]], (*dictionary, *OCTETS), rng)
    return bytes(head) + out[:MAX_INPUT]


def _edited(text: bytes, rng: random.Random) -> bytes:
    """One word of a command is another, is a literal, is there twice or not at all."""
    words = list(_TOKEN.finditer(text))
    if not words:
        return text + rng.choice(OCTETS)
    word = rng.choice(words)
    old = word[0]
    match rng.randrange(8):
        case 0 | 1:  # another of its kind
            kind = next((kind for kind in _KINDS if old in kind), None)
            if kind is None:
                kind = NUMBERS + SETS if old[:1].isdigit() else FLAGS if old[:1] == b"\\" else TOKENS
            new = rng.choice(kind)
        case 2:
            new = rng.choice(rng.choice((*_KINDS, TOKENS)))
        case 3:
            value = old.strip(b'"')
            new = b"%b{%d%b}\r\n%b" % (rng.choice((b"", b"", b"~")), len(value), rng.choice((b"", b"+")), value)
        case 4:
            new = old + b" " + rng.choice(TOKENS)
        case 5:
            new = b"(" * rng.choice((1, 1, 2, 40)) + old + b")" * rng.choice((1, 1, 2, 40))
        case 6:
            new = b""
        case _:
            new = old + rng.choice(OCTETS)
    return text[: word.start()] + new + text[word.end() :]
