"""What `ImapCore.next_event` gives. Each event waits for its answer before the next one comes.

| event         | answered by                                                              |
|---------------|--------------------------------------------------------------------------|
| Command       | `tagged` (after any `untagged`)                                          |
| Authenticate  | `challenge(data)` -> AuthResponse, or `tagged`                           |
| AuthResponse  | `challenge(data)` again, or `tagged`                                     |
| AppendStart   | `accept_literal()` -> LiteralChunk...; with `args.catenate`: `go_on()`   |
| CatenateText  | `accept_literal()` -> LiteralChunk...                                    |
| CatenateUrl   | `go_on()`                                                                |
|               | each of the three: or `tagged` to refuse; then the next of them          |
| LiteralChunk  | nothing: just ask for the next event                                     |
| AppendEnd     | `tagged` (also after the last of the above)                              |
| Idle          | `continuation("idling")` -> IdleDone; or `tagged` to refuse              |
| IdleDone      | `tagged`                                                                 |
| StartTls      | write `output()`, upgrade the transport, `tls_started()`                 |
| Logout        | `logout()`                                                               |
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pillarbox.imap.commands import Append, Args


@dataclass(slots=True)
class Command:
    """A complete command. `name` is upper case, without `UID`, which is `uid`."""

    tag: bytes
    name: str
    args: Args | None = None
    uid: bool = False


@dataclass(slots=True)
class Authenticate:
    """AUTHENTICATE; `initial` is the decoded initial response (SASL-IR), b"" for `=`, None without one."""

    tag: bytes
    mechanism: str
    initial: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class AuthResponse:
    """The client's answer to a challenge, decoded; None when it cancelled (`*`) or sent no base64: answer BAD."""

    tag: bytes
    data: bytes | None = field(repr=False)


@dataclass(slots=True)
class AppendStart:
    """A message of APPEND or REPLACE begins. Its literal is not read until `accept_literal()`.

    Another AppendStart with the same tag is another message of the same command (RFC 3502): all of them or none. A
    size over `Limits.append` was refused already. Refusing with `tagged` skips a non-synchronizing literal.
    """

    tag: bytes
    args: Append


@dataclass(slots=True)
class LiteralChunk:
    """The next octets of the literal."""

    data: bytes


@dataclass(slots=True)
class AppendEnd:
    """All has come. With a `fault` the command went wrong after it began: store nothing, answer with the rest."""

    tag: bytes
    fault: str | None = None
    code: str | None = None
    status: str = "BAD"


@dataclass(slots=True)
class CatenateUrl:
    """The octets of this URL are the next part of the message (RFC 4469)."""

    tag: bytes
    url: str


@dataclass(slots=True)
class CatenateText:
    """A literal is the next part of the message; as AppendStart."""

    tag: bytes
    size: int
    binary: bool = False


@dataclass(slots=True)
class Idle:
    """IDLE, RFC 2177."""

    tag: bytes


@dataclass(slots=True)
class IdleDone:
    """DONE came, or, with a `fault`, something else did: answer OK or BAD."""

    tag: bytes
    fault: str | None = None


@dataclass(slots=True)
class StartTls:
    """STARTTLS was answered with OK; all that the client had sent after it is forgotten."""

    tag: bytes


@dataclass(slots=True)
class Logout:
    """LOGOUT: let go of the mailbox (no expunge), then `logout()`."""

    tag: bytes


Event = (
    Command
    | Authenticate
    | AuthResponse
    | AppendStart
    | CatenateUrl
    | CatenateText
    | LiteralChunk
    | AppendEnd
    | Idle
    | IdleDone
    | StartTls
    | Logout
)
