"""Replies: how they are written, and the texts of those that are always the same.

Three digits, the enhanced status code (RFC 2034, RFC 3463) where there is one, a text of one or more lines.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_LINE = 512  # octets with the code and CRLF, RFC 5321 section 4.5.3.1.5

_UNPRINTABLE = re.compile(r"[^ -~]+")


class Reply(NamedTuple):
    """`core.reply(*replies.X)` says it. `enhanced` is None for greetings, EHLO, 334 and 354 (RFC 2034 section 4)."""

    code: int
    enhanced: str | None
    text: str | Sequence[str]


class Refusal(Exception):
    """What a client said is refused with `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


def encode(code: int, enhanced: str | None, text: str | Sequence[str]) -> bytes:
    """The reply as it goes over the wire. Whatever is not printable ASCII becomes `?`, so that nothing a client sent
    can make another line; lines are cut at 512 octets."""
    status = f" {enhanced} " if enhanced else " "
    if isinstance(text, str):
        if text.isascii() and text.isprintable() and len(text) < 480:
            return f"{code}{status}{text}\r\n".encode("ascii")
        text = (text,)
    middle = "-" + status[1:]
    lines = [f"{code}{middle}{_clean(line)}" for line in text] or [f"{code}{middle}"]
    lines[-1] = lines[-1].replace("-", " ", 1)
    return "".join(line[: MAX_LINE - 2] + "\r\n" for line in lines).encode("ascii")


def _clean(line: str) -> str:
    return _UNPRINTABLE.sub("?", line)


def greeting(hostname: str, protocol: str) -> bytes:
    return encode(220, None, f"{hostname} {protocol} Service Ready")


def goodbye(hostname: str) -> bytes:
    return encode(221, "2.0.0", f"{hostname} Service closing transmission channel")


def help_text(verbs: Iterable[str]) -> bytes:
    return encode(214, "2.0.0", ["Commands: " + " ".join(verbs), "See RFC 5321"])


OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "OK")
RECIPIENT_OK = Reply(250, "2.1.5", "OK")
START_CONTENT = Reply(354, None, "Start mail input; end with <CRLF>.<CRLF>")
ACCEPTED = Reply(250, "2.0.0", "OK: Message accepted for delivery")
CHUNK_ACCEPTED = Reply(250, "2.0.0", "OK: Chunk accepted")
AUTHENTICATED = Reply(235, "2.7.0", "Authentication successful")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")
CANNOT_VERIFY = Reply(252, "2.0.0", "Cannot VRFY user, but will accept message and attempt delivery")
CANNOT_EXPAND = Reply(252, "2.0.0", "Cannot EXPN list, but will accept message and attempt delivery")

UNRECOGNIZED = Reply(500, "5.5.1", "Syntax error, command unrecognized")
USE_LHLO = Reply(500, "5.5.1", "This is LMTP: use LHLO")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
BAD_LINE_END = Reply(500, "5.5.2", "Syntax error: bare CR or LF, lines end with CRLF")
BAD_CHARACTER = Reply(500, "5.5.2", "Syntax error: control character in command")
NOT_UTF8 = Reply(500, "5.5.2", "Syntax error: neither ASCII nor UTF-8")
BAD_SEQUENCE = Reply(503, "5.5.1", "Bad sequence of commands")
NO_PARAMETERS = Reply(501, "5.5.4", "Syntax: this command takes no parameters")
HELO_SYNTAX = Reply(501, "5.5.4", "Syntax: HELO hostname")
EHLO_SYNTAX = Reply(501, "5.5.4", "Syntax: EHLO hostname")
LHLO_SYNTAX = Reply(501, "5.5.4", "Syntax: LHLO hostname")
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BDAT_SYNTAX = Reply(501, "5.5.4", "Syntax: BDAT size [LAST]")
VRFY_SYNTAX = Reply(501, "5.5.4", "Syntax: VRFY address")
EXPN_SYNTAX = Reply(501, "5.5.4", "Syntax: EXPN list")
BAD_SENDER = Reply(501, "5.1.7", "Invalid sender address")
BAD_RECIPIENT = Reply(501, "5.1.3", "Invalid recipient address")
SENDER_NEEDS_UTF8 = Reply(553, "5.6.7", "Non-ASCII sender address needs SMTPUTF8")
RECIPIENT_NEEDS_UTF8 = Reply(553, "5.6.7", "Non-ASCII recipient address needs SMTPUTF8")
BINARY_NEEDS_BDAT = Reply(503, "5.5.1", "Bad sequence of commands: BODY=BINARYMIME needs BDAT")
DECLARED_TOO_BIG = Reply(552, "5.3.4", "Message size exceeds fixed maximum message size")
TOO_BIG = Reply(552, "5.3.4", "Message size exceeds maximum allowed")
CHUNK_TOO_BIG = Reply(552, "5.3.4", "Message size exceeds maximum allowed by far, closing")
BARE_LINE_END = Reply(554, "5.6.0", "Message refused: bare CR or LF, lines end with CRLF")
NUL = Reply(554, "5.6.0", "Message refused: NUL octet in the text")
LONG_LINE = Reply(554, "5.6.0", "Message refused: line too long")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")

AUTH_SYNTAX = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
AUTH_OFF = Reply(502, "5.5.1", "Command not implemented")
AUTH_TWICE = Reply(503, "5.5.1", "Already authenticated")
AUTH_UNKNOWN = Reply(504, "5.5.4", "Unrecognized authentication type")
NEEDS_TLS = Reply(530, "5.7.0", "Must issue STARTTLS first")
NEEDS_AUTH = Reply(530, "5.7.0", "Authentication required")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Must issue STARTTLS first")
AUTH_CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
AUTH_NOT_BASE64 = Reply(501, "5.5.2", "Cannot decode base64")
TLS_OFF = Reply(454, "4.7.0", "TLS not available")
TLS_TWICE = Reply(454, "4.7.0", "TLS already active")

TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_REFUSALS = Reply(421, "4.7.0", "Too many refused commands, closing")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages in this connection, closing")
TOO_MANY_EMPTY = Reply(421, "4.7.0", "Too many commands without a message, closing")
NOT_SMTP = Reply(421, "4.7.0", "This is not a web server, closing")
