"""What a server allows (`Limits`) and advertises (`Offer`)."""

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Bounds of one connection. Sizes in octets, without the CRLF where a line is meant."""

    message_size: int = 50 * 1024 * 1024
    """Octets of a message, advertised as SIZE; also the most that is ever given out as `Content`."""
    recipients: int = 100
    """Accepted recipients of a transaction, advertised as RCPTMAX; more get 452 4.5.3 (RFC 5321 section 4.5.3.1.10)."""
    messages: int = 0
    """MAIL commands of a connection, advertised as MAILMAX; one more gets 421. 0: as many as the client likes."""
    command_line: int = 2048
    """RFC 5321 section 4.5.3.1.4 asks for 512, the extensions add to it."""
    auth_line: int = 12288
    """Lines of an AUTH exchange (RFC 4954 section 4)."""
    data_line: int = 64 * 1024
    """RFC 5321 asks for 1000; real messages have longer ones."""
    errors: int = 5
    """Bad commands; the last of them closes the connection with 421. An accepted message starts the count again."""
    refusals: int = 100
    """Commands that the session refused, declared sizes over the limit, and what a pipelining client sent after a
    refusal (RCPT, DATA and BDAT out of sequence); the last of them closes the connection. An accepted message starts
    the count again."""
    excess: int = 10_000
    """Recipients put off because a transaction has `recipients` already; the last of them closes the connection. Many,
    since the sender of a list may try them all in every transaction."""
    empty_commands: int = 200
    """Commands that do no work (NOOP, RSET, HELP, VRFY, EXPN, greetings) between two messages; one more closes."""


class Offer(Struct, frozen=True):
    """What EHLO shows. Give the core another one with `SmtpCore.offer = ...` when it changes."""

    starttls: bool = False
    """Not shown once TLS is on."""
    auth: tuple[str, ...] = ()
    """SASL mechanisms in the order of preference, upper case."""
    auth_in_clear: bool = False
    """Whether AUTH is shown and taken without TLS (RFC 4954 section 4 says how to refuse it: 538)."""
    login_first: bool = False
    """Whether VRFY and EXPN, too, are for who has logged in (RFC 4954 section 6)."""
    smtputf8: bool = True
    chunking: bool = True
    """CHUNKING and BINARYMIME, which needs it (RFC 3030)."""
    dsn: bool = True
    limits: bool = True
    """LIMITS (RFC 9422)."""
    deliver_by: bool = False
    """DELIVERBY (RFC 2852)."""
    hold_seconds: int = 0
    """FUTURERELEASE (RFC 4865): for how long a message is held at most; 0 is not at all."""
    hold_until: int = 0
    """The same as a time in seconds since 1970."""
    priority: bool = False
    """MT-PRIORITY (RFC 6710)."""
