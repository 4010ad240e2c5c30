"""What a client asked for, as `SmtpCore.next_event` gives it.

Events marked *answered* wait: nothing more comes out of the core until the session has called `accept`, `reply`
(or `challenge`, for AUTH). The others need no answer, the core has said what is to be said.

One transaction, as the session sees it:

    Hello          answered
    Mail           answered
    Rcpt ...       answered, each
    Data           answered: `accept()` starts the content, a 4xx/5xx ends the transaction
    Content ...    not answered
    ContentEnd     answered once; on LMTP once for every accepted recipient, in the order they were given.
                   With `fault` it is not answered: the core has refused the message, drop what was spooled

`Reset`, and a `Hello` that was accepted, end a transaction that was open. After `Quit` the core is closed.
"""

from typing import Literal

from msgspec import Struct

from pillarbox.smtp.address import Path
from pillarbox.smtp.promises import Wishes


class Hello(Struct, frozen=True, gc=False):
    """HELO (`esmtp` false), EHLO or LHLO; answered. `name` is what the client calls itself: printable ASCII without
    spaces, up to 255 octets, not always a valid domain."""

    name: str
    esmtp: bool


class Mail(Struct, frozen=True, gc=False):
    """MAIL FROM, checked; answered. `size` is the declared one, never above the limit (the core refuses that).

    `auth` is the decoded AUTH= mailbox, "" for `AUTH=<>`, None when absent (RFC 4954 section 5). `envid` is decoded
    from xtext (RFC 3461 section 4.4). `wishes` are there when one was uttered."""

    sender: Path
    size: int | None = None
    body: Literal["7BIT", "8BITMIME", "BINARYMIME"] = "7BIT"
    smtputf8: bool = False
    ret: Literal["", "FULL", "HDRS"] = ""
    envid: str = ""
    auth: str | None = None
    wishes: Wishes | None = None


class Rcpt(Struct, frozen=True, gc=False):
    """RCPT TO, checked; answered. A bare `<Postmaster>` has the local part as written and the domain "".

    `notify` holds NEVER, or any of SUCCESS, FAILURE, DELAY; empty when absent. `orcpt` is `type;address` with the
    address decoded from xtext, "" when absent (RFC 3461 sections 4.1 and 4.2)."""

    recipient: Path
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


class Data(Struct, frozen=True, gc=False):
    """The content is about to come, by DATA or (`chunked`) by the first BDAT; answered. `accept()` says 354 to a DATA
    and nothing to a BDAT; after a refusal the core itself swallows the octets of the BDAT before it says so."""

    chunked: bool = False


class Content(Struct, frozen=True, gc=False):
    """A piece of the message: dots unstuffed, line ends as sent. Pieces may be cut anywhere, also within a CRLF (BDAT).
    Never more than the size limit in all. `SmtpCore.fault` tells early that the message will be refused."""

    data: bytes


class ContentEnd(Struct, frozen=True, gc=False):
    """The true end of the content; `size` octets in all. Answered unless `fault` is there.

    `fault` says why the core refused the message after its end: `TOO_BIG` (552 5.3.4), or `BARE_LINE_END`, `NUL`,
    `LONG_LINE` (554 5.6.0; DATA only). It may come without a `Data` before it: the first BDAT can be too big."""

    size: int
    fault: str | None = None


class Auth(Struct, frozen=True, gc=False):
    """AUTH with a mechanism that is offered; answered by `challenge`, or by `reply` with 235 or an error.
    `initial` is the decoded initial response, None when there is none."""

    mechanism: str
    initial: bytes | None = None


class AuthResponse(Struct, frozen=True, gc=False):
    """The decoded answer to a `challenge`; answered like `Auth`. A cancelled exchange gives no event."""

    data: bytes


class StartTls(Struct, frozen=True, gc=False):
    """STARTTLS; answered. After `accept` write the output, upgrade the transport, call `tls_started`; the core hears
    nothing until then and has forgotten what came before (CVE-2011-0411)."""


class Reset(Struct, frozen=True, gc=False):
    """RSET, or the core gave up the transaction: drop what it held. Not answered."""


class Quit(Struct, frozen=True, gc=False):
    """QUIT: the goodbye is in the output and the core is closed. Not answered."""


Event = Hello | Mail | Rcpt | Data | Content | ContentEnd | Auth | AuthResponse | StartTls | Reset | Quit

TOO_BIG = "too big"
BARE_LINE_END = "bare CR or LF"
NUL = "NUL"
LONG_LINE = "line too long"
