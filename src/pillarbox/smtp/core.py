"""SMTP and LMTP server core: bytes in, events out, no I/O, no clock, no storage.

RFC 5321 with the extensions of `hello`, and LMTP (RFC 2033). The session that drives it owns the socket, TLS,
deadlines, accounts and the store:

    core.greet()
    core.receive(data)                          # what comes while we answer only joins the buffer
    while (event := core.next_event()):         # one event a command, see `events`
        core.accept()                           # or core.reply(550, "5.1.1", "No such user")
    transport.write(core.output())              # one write for a whole pipelined batch

Rules that hold here:
- `next_event` gives an event or answers the client itself; it never raises on input; the same bytes in another split
  end in the same replies and the same events, but for where `Content` is cut.
- Nothing comes out while an event waits for its answer, so that replies keep their order (RFC 2920 section 3.2).
- Only CRLF ends a line; only `<CRLF>.<CRLF>` ends DATA; a refused BDAT still swallows its octets (RFC 3030 section 2).
- A client's error costs one of `Limits.errors`; the last one closes the connection.
- What is legal when is in `COMMANDS` and nowhere else.
"""

import re
from collections.abc import Callable
from typing import Final

from pillarbox.smtp import replies
from pillarbox.smtp.conversation import (
    CHUNKS,
    OCTETS,
    READY,
    RECIPIENTS,
    SENDER,
    START,
    SWALLOW,
    TRANSACTION,
)
from pillarbox.smtp.envelope import parse_mail, parse_rcpt
from pillarbox.smtp.events import Data, Event, Hello, Quit, Reset, StartTls
from pillarbox.smtp.exchange import parse_auth, parse_bdat
from pillarbox.smtp.input import TOO_LONG
from pillarbox.smtp.replies import Refusal, Reply, encode
from pillarbox.smtp.responder import Responder

MOST_SWALLOWED = 1 << 30  # octets of a BDAT that is refused, or twice a message, if that is more

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[!-~]{1,255}")
_WEB = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH"})

_OK = encode(*replies.OK)


class SmtpCore(Responder):
    """One client's conversation. Not thread-safe; one instance a connection.

    What the session uses is in `Conversation` and `Responder`; `offer` may be replaced between events, `tls` and
    `authenticated` tell what was reached.
    """

    __slots__ = ()

    # Commands: a method a verb, see COMMANDS.

    def _command(self, line: bytes) -> Event | None:
        if len(line) > self.limits.command_line and line[:5].upper() != b"AUTH ":
            line = TOO_LONG
        if line is TOO_LONG:
            return self._error(replies.LINE_TOO_LONG)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return self._error(replies.NOT_UTF8)
        if not text.isprintable() or text.endswith(" "):
            text = text.rstrip(" \t")  # tolerated by RFC 5321 section 4.1.1
            if _CONTROL.search(text):
                return self._error(replies.BAD_LINE_END if b"\n" in line or b"\r" in line else replies.BAD_CHARACTER)
        verb, _, argument = text.partition(" ")
        command = COMMANDS.get(verb) or COMMANDS.get(verb.upper())
        if command is None:
            if verb.upper() in _WEB:  # a browser was led here: the rest may be commands its user never meant
                return self._end(encode(*replies.NOT_SMTP))
            return self._error(replies.UNRECOGNIZED)
        handler, phases, empty = command
        if not self._phase & phases:
            return self._out_of_sequence(phases)
        if empty and (parting := self._patience.empty()) is not None:
            return self._end(encode(*parting))
        try:
            return handler(self, argument)
        except Refusal as refusal:
            if refusal.reply is replies.DECLARED_TOO_BIG:
                return self._refuse(encode(*refusal.reply), self._patience.refusal())
            return self._error(refusal.reply)

    def _helo(self, argument: str) -> Event | None:
        if self.lmtp:
            raise Refusal(replies.USE_LHLO)  # RFC 2033 section 4.1
        return self._hello(argument, replies.HELO_SYNTAX, esmtp=False)

    def _ehlo(self, argument: str) -> Event | None:
        if self.lmtp:
            raise Refusal(replies.USE_LHLO)
        return self._hello(argument, replies.EHLO_SYNTAX, esmtp=True)

    def _lhlo(self, argument: str) -> Event | None:
        if not self.lmtp:
            raise Refusal(replies.UNRECOGNIZED)
        return self._hello(argument, replies.LHLO_SYNTAX, esmtp=True)

    def _hello(self, argument: str, syntax: Reply, *, esmtp: bool) -> Event | None:
        if not _NAME.fullmatch(argument):
            raise Refusal(syntax)
        return self._wait(Hello(argument, esmtp))

    def _mail_from(self, argument: str) -> Event | None:
        parting = self._patience.message()
        if parting is not None:
            return self._end(encode(*parting))
        return self._wait(parse_mail(argument, self.offer, self.limits.message_size))

    def _rcpt_to(self, argument: str) -> Event | None:
        assert self._mail is not None
        rcpt = parse_rcpt(argument, self.offer, smtputf8=self._mail.smtputf8)
        if self._recipients >= self.limits.recipients:
            return self._refuse(encode(*replies.TOO_MANY_RECIPIENTS), self._patience.excess())
        return self._wait(rcpt)

    def _data(self, argument: str) -> Event | None:
        assert self._mail is not None
        _nothing(argument)
        if self._mail.body == "BINARYMIME":
            raise Refusal(replies.BINARY_NEEDS_BDAT)  # RFC 3030 section 3
        return self._wait(Data())

    def _bdat(self, argument: str) -> Event | None:
        """RFC 3030. Whatever is wrong: once a size is there, the octets come and are read before the reply. Of so many
        that nobody means to send them no command can be told apart: that ends the conversation."""
        if not self.offer.chunking:
            raise Refusal(replies.UNRECOGNIZED)
        self._chunk = chunk = parse_bdat(argument)
        if chunk.size > max(MOST_SWALLOWED, 2 * self.limits.message_size):
            refusals = self._recipients if self.lmtp and chunk.last and self._recipients else 1
            return self._end(encode(*replies.CHUNK_TOO_BIG) * refusals)
        self._chunk_left = chunk.size
        self._mode = SWALLOW
        if not chunk.valid:
            self._refusal = replies.BDAT_SYNTAX
        elif not self._phase & (RECIPIENTS | CHUNKS):
            self._refusal = replies.BAD_SEQUENCE
        elif self._size + chunk.size > self.limits.message_size:
            self._refusal = replies.TOO_BIG
        elif self._phase == RECIPIENTS:
            return self._wait(Data(chunked=True))
        else:
            self._mode = OCTETS
        return None

    def _rset(self, argument: str) -> Event | None:
        _nothing(argument)
        self._forget()
        self._out.append(_OK)
        return Reset()

    def _quit(self, argument: str) -> Event | None:
        _nothing(argument)
        self._end(replies.goodbye(self.hostname))
        return Quit()

    def _noop(self, argument: str) -> Event | None:
        return self._say(replies.OK)

    def _help(self, argument: str) -> Event | None:
        self._out.append(replies.help_text(self._verbs()))
        return None

    def _vrfy(self, argument: str) -> Event | None:
        return self._of_addresses(replies.CANNOT_VERIFY if argument else replies.VRFY_SYNTAX)

    def _expn(self, argument: str) -> Event | None:
        return self._of_addresses(replies.CANNOT_EXPAND if argument else replies.EXPN_SYNTAX)

    def _of_addresses(self, reply: Reply) -> Event | None:
        """RFC 4954 section 6: nothing is said of them to who has to log in first, RFC 3207 section 4: or to turn TLS
        on for that. HELP tells what anybody may know."""
        if self.authenticated or not self.offer.login_first:
            return self._say(reply)
        early = self.offer.starttls and not self.tls and not self.offer.auth_in_clear
        return self._refuse(encode(*(replies.NEEDS_TLS if early else replies.NEEDS_AUTH)), self._patience.refusal())

    def _starttls(self, argument: str) -> Event | None:
        _nothing(argument)
        if self.tls:
            raise Refusal(replies.TLS_TWICE)
        if not self.offer.starttls:
            raise Refusal(replies.TLS_OFF)
        return self._wait(StartTls())

    def _auth(self, argument: str) -> Event | None:
        if not self.offer.auth:
            raise Refusal(replies.AUTH_OFF)
        if self.authenticated:
            raise Refusal(replies.AUTH_TWICE)
        if not self.tls and not self.offer.auth_in_clear:
            raise Refusal(replies.AUTH_NEEDS_TLS)
        return self._wait(parse_auth(argument, self.offer.auth))

    def _verbs(self) -> list[str]:
        absent = {"HELO", "EHLO"} if self.lmtp else {"LHLO"}
        if not self.offer.auth:
            absent.add("AUTH")
        if not self.offer.starttls:
            absent.add("STARTTLS")
        if not self.offer.chunking:
            absent.add("BDAT")
        return [verb for verb in COMMANDS if verb not in absent]


def _nothing(argument: str) -> None:
    if argument:
        raise Refusal(replies.NO_PARAMETERS)


Handler = Callable[[SmtpCore, str], Event | None]

_GREETED: Final = READY | TRANSACTION
_ALWAYS: Final = START | _GREETED

# Verb -> method, where it is legal, whether it does no work by itself (see Limits.empty_commands).
COMMANDS: dict[str, tuple[Handler, int, bool]] = {
    "EHLO": (SmtpCore._ehlo, _ALWAYS, True),  # RFC 5321 section 4.1.4: at any time, and it ends a transaction
    "HELO": (SmtpCore._helo, _ALWAYS, True),
    "LHLO": (SmtpCore._lhlo, _ALWAYS, True),  # RFC 2033 section 4.1
    "MAIL": (SmtpCore._mail_from, READY, False),  # RFC 5321 section 4.1.1.2: not within a transaction
    "RCPT": (SmtpCore._rcpt_to, SENDER | RECIPIENTS, False),  # section 4.1.1.3; not after BDAT, RFC 3030 section 2
    "DATA": (SmtpCore._data, RECIPIENTS, False),  # section 4.1.1.4; not after BDAT
    "BDAT": (SmtpCore._bdat, _ALWAYS, False),  # RFC 3030; looks at the phase itself, as its octets come anyway
    "RSET": (SmtpCore._rset, _ALWAYS, True),  # RFC 5321 section 4.1.1.5
    "NOOP": (SmtpCore._noop, _ALWAYS, True),
    "HELP": (SmtpCore._help, _ALWAYS, True),
    "VRFY": (SmtpCore._vrfy, _ALWAYS, True),
    "EXPN": (SmtpCore._expn, _ALWAYS, True),
    "QUIT": (SmtpCore._quit, _ALWAYS, False),
    "STARTTLS": (SmtpCore._starttls, READY, False),  # RFC 3207 section 4
    "AUTH": (SmtpCore._auth, READY, False),  # RFC 4954 section 4: not within a transaction
}
