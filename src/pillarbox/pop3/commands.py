"""What is legal when, and what comes out of a POP3 conversation: the table of commands, the events, the replies."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from msgspec import Struct


class State(Enum):
    AUTHORIZATION = auto()
    EXCHANGE = auto()  # within AUTH: the next line is the client's response
    TRANSACTION = auto()
    UPGRADING = auto()  # STLS accepted: nothing is heard until `tls_started`
    CLOSED = auto()


class Login(Struct, frozen=True):
    """USER and PASS are both in: answer with `reply`, and `logged_in` when they are right."""

    username: str
    password: str


class Auth(Struct, frozen=True):
    """AUTH was said; `initial` is None without an initial response. Answer with `challenge` or `reply`."""

    mechanism: str
    initial: bytes | None


class AuthResponse(Struct, frozen=True):
    """The client's answer to a challenge; None when it cancelled, or when that was no base64."""

    data: bytes | None


class Command(Struct, frozen=True):
    """A command for the maildrop. `args` are decimal message numbers or line counts."""

    verb: str
    args: tuple[int, ...] = ()


class StartTls(Struct, frozen=True):
    """STLS was accepted: write the output, upgrade the transport, call `tls_started`."""


class Quit(Struct, frozen=True):
    """QUIT. In TRANSACTION (`update`) apply the deletions now, then answer: the connection closes behind the reply."""

    update: bool


Event = Login | Auth | AuthResponse | Command | StartTls | Quit


class Reply(Struct, frozen=True):
    """The answer to one event. `code` is a response code such as IN-USE or AUTH (RFC 2449 section 8, RFC 3206).

    `content` makes it multi-line: pieces of a text with CRLF line ends, cut anywhere, taken only as the transport asks
    for output. With `open_end` the text follows by `Pop3Core.content`, so that a long message never stands here whole.
    """

    ok: bool
    text: str = ""
    code: str = ""
    content: Iterable[bytes] | None = None
    open_end: bool = False


class Rule(Struct, frozen=True):
    """When a command is legal, and how many numbers it takes (least, most)."""

    states: frozenset[State]
    numbers: tuple[int, int] = (0, 0)


_ANY = frozenset({State.AUTHORIZATION, State.TRANSACTION})
_AUTH = frozenset({State.AUTHORIZATION})
_TRANS = frozenset({State.TRANSACTION})

COMMANDS: dict[str, Rule] = {
    "CAPA": Rule(_ANY),  # RFC 2449 section 5
    "USER": Rule(_AUTH),  # RFC 1939 section 7
    "PASS": Rule(_AUTH),
    "AUTH": Rule(_AUTH),  # RFC 5034 section 4
    "STLS": Rule(_AUTH),  # RFC 2595 section 4
    "UTF8": Rule(_AUTH),  # RFC 6856 section 2.1: only before the maildrop is open
    "LANG": Rule(_ANY),  # RFC 6856 section 3.2
    "STAT": Rule(_TRANS),  # RFC 1939 section 5
    "LIST": Rule(_TRANS, (0, 1)),
    "RETR": Rule(_TRANS, (1, 1)),
    "DELE": Rule(_TRANS, (1, 1)),
    "NOOP": Rule(_TRANS),
    "RSET": Rule(_TRANS),
    "TOP": Rule(_TRANS, (2, 2)),  # RFC 1939 section 7
    "UIDL": Rule(_TRANS, (0, 1)),
    "QUIT": Rule(_ANY),
}
