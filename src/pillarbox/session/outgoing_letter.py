"""What of a parcel a server can be given, by what it offers: SIZE, 8BITMIME, SMTPUTF8, DSN and the like.

Each refusal of ours is a reply with the stage POLICY, in place of words that the server would have said.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pillarbox.flow.parcel import Parcel, ParcelRecipient
from pillarbox.mime.downgrade import Untouchable
from pillarbox.smtp.address import AddressError, domain_key, parse_path
from pillarbox.smtp.answer import Answer
from pillarbox.smtp.outgoing import Recipient, Sender, mail_line, rcpt_line, size_limit, takes_binary

from .outgoing_content import Content


class Letter(Struct, frozen=True):
    """A transaction to be: the `mail` command, `recipients` as pairs of a number in the parcel and the command for it.
    `refused` has the answers of ours for all others by number. `chunked`: the content goes by BDAT."""

    mail: bytes
    recipients: tuple[tuple[int, bytes], ...]
    refused: dict[int, Answer]
    chunked: bool = False


class Refused(Exception):
    """Nobody can have it from this server."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.answer = Answer(code, enhanced, (text,))


async def letter_for(
    parcel: Parcel, extensions: Mapping[str, str], content: Content, *, host: str, now: float, last: bool
) -> Letter:
    """`now` is in seconds since 1970; `last`: the server keeps the mail itself (LMTP). Raises Refused, StoreError."""
    address, left = _sender(parcel, extensions, now, last)
    recipients, refused, plain = _recipients(parcel, extensions, host)
    if not recipients:
        return Letter(b"", (), refused)
    if parcel.smtputf8 and "SMTPUTF8" not in extensions and not await content.has_ascii_headers():
        raise Refused(
            550, "5.6.7", f"{host} takes no internationalized mail (SMTPUTF8), and a header of the message is not ASCII"
        )
    body = await _fit(parcel, extensions, content, host)
    limit = size_limit(extensions)
    if limit and content.size > limit:
        raise Refused(552, "5.3.4", f"{host} takes messages of up to {limit} octets; this one has {content.size}")
    sender = Sender(
        address,
        content.size,
        body,
        parcel.smtputf8 or not (plain and address.isascii()),
        parcel.ret,
        parcel.envid,
        parcel.priority,
        left,
        parcel.deliver_mode,
    )
    try:
        mail = mail_line(sender, extensions)
    except ValueError as error:
        raise Refused(553, "5.1.7", f"the sender's address {address} cannot be written: {error}") from None
    return Letter(mail, recipients, refused, body == "BINARYMIME")


def _sender(parcel: Parcel, extensions: Mapping[str, str], now: float, last: bool) -> tuple[str, int | None]:
    """The sender as it is written, and the seconds that are left for the delivery. Raises Refused."""
    left = None if parcel.deliver_by is None else int(parcel.deliver_by - now)
    if left is not None and parcel.deliver_mode.startswith("R"):
        if left <= 0:
            raise Refused(550, "5.4.7", "the time that its sender set for the delivery is over")
        if "DELIVERBY" not in extensions and not last:  # RFC 2852 section 4
            raise Refused(
                550, "5.3.3", "it is to come back when it is late, and the next server does not watch the time"
            )
    address = _written(parcel.sender)
    if not address.isascii() and "SMTPUTF8" not in extensions:
        raise Refused(550, "5.6.7", f"the sender's address {address} is not ASCII, which the next server does not take")
    return address, left


def _recipients(
    parcel: Parcel, extensions: Mapping[str, str], host: str
) -> tuple[tuple[tuple[int, bytes], ...], dict[int, Answer], bool]:
    """Commands by number, what is refused by number, and whether all addresses are ASCII."""
    found: list[tuple[int, bytes]] = []
    refused: dict[int, Answer] = {}
    plain = True
    for number, given in enumerate(parcel.recipients):
        recipient = _recipient(given)
        if not recipient.address.isascii() and "SMTPUTF8" not in extensions:
            text = f"{host} takes no internationalized addresses (SMTPUTF8), and {given.address} is one"
            refused[number] = Answer(550, "5.6.7", (text,))
            continue
        try:
            found.append((number, rcpt_line(recipient, extensions)))
        except ValueError as error:
            refused[number] = Answer(553, "5.1.3", (f"the address {given.address} cannot be written: {error}",))
        else:
            plain = plain and recipient.address.isascii()
    return tuple(found), refused, plain


def _recipient(given: ParcelRecipient) -> Recipient:
    notify = tuple(word for word in given.notify.upper().split(",") if word)
    return Recipient(_written(given.address), notify, given.orcpt)


def _written(address: str) -> str:
    """With a domain of A-labels where the local part is ASCII: then any server takes it."""
    if address.isascii():
        return address
    try:
        path = parse_path(address, max_local=len(address) * 4)
    except AddressError:
        return address
    if not path.local.isascii():
        return address
    return f"{address.rpartition('@')[0]}@{domain_key(path.domain)}"


async def _fit(parcel: Parcel, extensions: Mapping[str, str], content: Content, host: str) -> str:
    """Give the content a form that the server takes; the BODY parameter for it. Raises Refused."""
    body = parcel.body
    content.as_it_is()
    eight_bit = "8BITMIME" in extensions
    if body not in ("8BITMIME", "BINARYMIME"):
        return body
    if (body == "8BITMIME" and eight_bit) or takes_binary(extensions):
        return body
    try:
        await content.downgrade(eight_bit=eight_bit)
    except Untouchable as error:
        text = (
            f"{host} takes no {'binary' if eight_bit else '8-bit'} content, and the message cannot be changed: {error}"
        )
        raise Refused(550, "5.6.3", text) from None
    return "8BITMIME" if eight_bit else ""
