"""IMAP ENVELOPE, rendered once from the header fields (RFC 3501 and RFC 9051 section 7.5.2)."""

from __future__ import annotations

from pillarbox.mime.address import Address, parse_addresses
from pillarbox.mime.header import unfold
from pillarbox.mime.render import NIL, nstring

EMPTY = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


def render_envelope(fields: dict[bytes, bytes]) -> bytes:
    """`(date subject from sender reply-to to cc bcc in-reply-to message-id)`.

    A text field that is absent is NIL, one that is empty is "". An address field that is absent or empty is NIL, but
    Sender and Reply-To then show From.
    """
    get = fields.get
    origin = _addresses(get(b"from"))
    sender = _addresses(get(b"sender"))
    reply_to = _addresses(get(b"reply-to"))
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _text(get(b"date")),
        _text(get(b"subject")),
        origin,
        origin if sender is NIL else sender,
        origin if reply_to is NIL else reply_to,
        _addresses(get(b"to")),
        _addresses(get(b"cc")),
        _addresses(get(b"bcc")),
        _text(get(b"in-reply-to")),
        _text(get(b"message-id")),
    )


def _text(value: bytes | None) -> bytes:
    return nstring(unfold(value) if value is not None else None)


def _addresses(value: bytes | None) -> bytes:
    if value is None:
        return NIL
    addresses = parse_addresses(value)
    return b"(" + b"".join([render_address(address) for address in addresses]) + b")" if addresses else NIL


def render_address(address: Address) -> bytes:
    name, route, mailbox, host = address
    return b"(%b %b %b %b)" % (nstring(name), nstring(route), nstring(mailbox), nstring(host))
