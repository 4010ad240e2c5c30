"""What `ImapCore.next_event` gives. Each event waits for its answer before the next one comes.

| event         | answered by                                                              |
|---------------|--------------------------------------------------------------------------|
| Command       | `tagged` (after any `untagged`)                                          |
| Authenticate  | `challenge(data)` -> AuthResponse, or `tagged`                           |
| AuthResponse  | `challenge(data)` again, or `tagged`                                     |
| AppendStart   | `accept_literal()` -> LiteralChunk..., AppendEnd; or `tagged` to refuse  |
| LiteralChunk  | nothing: just ask for the next event                                     |
| AppendEnd     | `tagged`                                                                 |
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
    """APPEND up to the message literal, which is not read until `accept_literal()`.

    A size over `Limits.append` was refused already. Refusing with `tagged` skips a non-synchronizing literal.
    """

    tag: bytes
    args: Append


@dataclass(slots=True)
class LiteralChunk:
    """The next octets of the literal."""

    data: bytes


@dataclass(slots=True)
class AppendEnd:
    """The literal is complete. With a `fault` the command was malformed after it: store nothing, answer BAD."""

    tag: bytes
    fault: str | None = None


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
    Command | Authenticate | AuthResponse | AppendStart | LiteralChunk | AppendEnd | Idle | IdleDone | StartTls | Logout
)
