"""What the client core tells: how far a server has come, and what became of a transaction."""

from msgspec import Struct

from pillarbox.smtp.answer import Answer


class Connected(Struct, frozen=True):
    """The server greeted: say `hello`."""

    answer: Answer


class Introduced(Struct, frozen=True):
    """EHLO, LHLO or (when a server knows no EHLO) HELO was accepted; `extensions` has the keywords in upper case.
    `name` is what the server calls itself, "" when it did not say."""

    extensions: dict[str, str]
    name: str = ""


class UpgradeTls(Struct, frozen=True):
    """The server is ready for TLS: upgrade the transport, call `tls_started`, say `hello` again."""


class Challenge(Struct, frozen=True):
    """The server's part of an AUTH exchange: `respond` to it."""

    data: bytes


class Authenticated(Struct, frozen=True):
    answer: Answer


class ContentWanted(Struct, frozen=True):
    """Give the message by `content` and `end_content`. At least one recipient was accepted."""


class Done(Struct, frozen=True):
    """The end of a transaction: the answer that decided about each recipient, in the order they were given, and what it
    answered: MAIL, RCPT, DATA, END (of the content), or the stage that `give_up` was told."""

    answers: tuple[Answer, ...]
    stages: tuple[str, ...]


class Failed(Struct, frozen=True):
    """What was asked is refused: `stage` is CONNECT, HELLO, STARTTLS, AUTH, CLOSED for a 421 that answers nothing, or
    PROTOCOL when the server spoke no SMTP (then, and after a 421, the core is closed)."""

    stage: str
    answer: Answer


Event = Connected | Introduced | UpgradeTls | Challenge | Authenticated | ContentWanted | Done | Failed
