"""The arguments of MAIL and RCPT: path and ESMTP parameters, parsed and checked into `Mail` and `Rcpt`."""

import re
from typing import Literal, cast

from pillarbox.smtp import replies
from pillarbox.smtp.address import MAX_LOCAL, MAX_PATH, NULL, AddressError, Path, parse_path
from pillarbox.smtp.events import Mail, Rcpt
from pillarbox.smtp.offer import Offer
from pillarbox.smtp.promises import Wishes, keywords, parse_wishes
from pillarbox.smtp.replies import Refusal, Reply

MAX_ENVID = 100  # characters before decoding, RFC 3461 section 4.4
MAX_ORCPT = 500  # section 4.2

# The path is everything up to the first ">" outside quotes. A space after the colon is no RFC 5321, but common.
_PATH = r": *+<((?:[^<>\"]++|\"(?:[^\"\\]++|\\.)*+\")*+)>(?: +(.*))?"
_FROM = re.compile("(?i:FROM)" + _PATH)
_TO = re.compile("(?i:TO)" + _PATH)
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(r"[!-<>-~\x80-\U0010ffff]+")  # RFC 5321 section 4.1.2, UTF-8 by RFC 6531 section 3.3
_XTEXT = re.compile(r"(?:[!-*,-<>-~\x80-\U0010ffff]|\+[0-9A-F]{2})*")  # RFC 3461 section 4
_XTEXT_OCTET = re.compile(r"\+([0-9A-F]{2})")
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 section 3
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def parse_mail(argument: str, offer: Offer, max_size: int) -> Mail:
    """What follows `MAIL `. Raises Refusal."""
    match = _FROM.fullmatch(argument)
    if match is None:
        raise Refusal(replies.MAIL_SYNTAX)
    path, rest = match.groups()
    try:
        # Senders that encode the recipient (VERP) go over 64 octets every day: the limit of the whole path is enough.
        sender = parse_path(path, max_local=MAX_PATH) if path else NULL
    except AddressError:
        raise Refusal(replies.BAD_SENDER) from None
    mail = Mail(sender) if rest is None else _mail(sender, _parameters(rest), offer, max_size)
    if not mail.smtputf8 and not argument.isascii():
        raise Refusal(replies.SENDER_NEEDS_UTF8)
    return mail


def parse_rcpt(argument: str, offer: Offer, *, smtputf8: bool) -> Rcpt:
    """What follows `RCPT `. Raises Refusal."""
    match = _TO.fullmatch(argument)
    if match is None:
        raise Refusal(replies.RCPT_SYNTAX)
    if not smtputf8 and not argument.isascii():
        raise Refusal(replies.RECIPIENT_NEEDS_UTF8)
    path, rest = match.groups()
    try:
        if path.lower() == "postmaster":  # the one address without a domain, RFC 5321 section 4.1.1.3
            recipient = Path(path, "", path)
        else:
            # Return addresses that hold another address (SRS) are longer too, and come back to who made them.
            recipient = parse_path(path, max_local=MAX_PATH if path.lstrip('"')[:3].upper() == "SRS" else MAX_LOCAL)
    except AddressError:
        raise Refusal(replies.BAD_RECIPIENT) from None
    return Rcpt(recipient) if rest is None else _rcpt(recipient, _parameters(rest), offer)


def decode_xtext(text: str) -> str:
    """The decoded text (RFC 3461 section 4); octets that are not UTF-8 become U+FFFD. Raises ValueError."""
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    if "+" not in text:
        return text
    octets = _XTEXT_OCTET.sub(lambda octet: chr(0xDC00 + int(octet[1], 16)), text)
    return b"".join(
        bytes([ord(char) - 0xDC00]) if "\udc00" <= char <= "\udcff" else char.encode() for char in octets
    ).decode("utf-8", "replace")


def _parameters(text: str) -> dict[str, str | None]:
    """Keyword in upper case -> value, None without `=`."""
    found: dict[str, str | None] = {}
    for word in text.split():
        keyword, equals, value = word.partition("=")
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise Refusal(_bad(f"Syntax error in parameter {keyword[:40]}"))
        keyword = keyword.upper()
        if keyword in found:
            raise Refusal(_bad(f"Parameter {keyword[:40]} given twice"))
        found[keyword] = value if equals else None
    return found


def _mail(sender: Path, parameters: dict[str, str | None], offer: Offer, max_size: int) -> Mail:
    size = auth = None
    body, ret, envid, smtputf8 = "7BIT", "", "", False
    wishes: Wishes | None = None
    for keyword, value in parameters.items():
        if keyword == "SIZE":
            if value is None or not _SIZE.fullmatch(value):
                raise Refusal(_bad("Syntax: SIZE=octets"))
            size = int(value)
        elif keyword == "BODY":
            body = _one_of(
                keyword, value, ("7BIT", "8BITMIME", "BINARYMIME") if offer.chunking else ("7BIT", "8BITMIME")
            )
        elif keyword == "SMTPUTF8" and offer.smtputf8:
            if value is not None:
                raise Refusal(_bad("SMTPUTF8 takes no value"))
            smtputf8 = True
        elif keyword == "RET" and offer.dsn:
            ret = _one_of(keyword, value, ("FULL", "HDRS"))
        elif keyword == "ENVID" and offer.dsn:
            envid = _xtext(keyword, value, MAX_ENVID)
        elif keyword == "AUTH":
            auth = _submitter(value)
        elif keyword in keywords(offer):
            wishes = wishes or parse_wishes(parameters, offer)
        else:
            raise Refusal(_unknown(keyword))
    if size is not None and size > max_size:
        raise Refusal(replies.DECLARED_TOO_BIG)
    return Mail(
        sender,
        size,
        cast(Literal["7BIT", "8BITMIME", "BINARYMIME"], body),
        smtputf8,
        cast(Literal["", "FULL", "HDRS"], ret),
        envid,
        auth,
        wishes,
    )


def _rcpt(recipient: Path, parameters: dict[str, str | None], offer: Offer) -> Rcpt:
    notify: frozenset[str] = frozenset()
    orcpt = ""
    for keyword, value in parameters.items():
        if keyword == "NOTIFY" and offer.dsn:
            notify = frozenset((value or "").upper().split(","))
            if notify != {"NEVER"} and not notify <= _NOTIFY:  # NEVER stands alone, RFC 3461 section 4.1
                raise Refusal(_bad("Syntax: NOTIFY=NEVER or NOTIFY=SUCCESS,FAILURE,DELAY"))
        elif keyword == "ORCPT" and offer.dsn:
            kind, semicolon, encoded = (value or "").partition(";")
            if not semicolon or not encoded or not _ATOM.fullmatch(kind):
                raise Refusal(_bad("Syntax: ORCPT=type;address"))
            orcpt = f"{kind};{_xtext(keyword, encoded, MAX_ORCPT)}"
        else:
            raise Refusal(_unknown(keyword))
    return Rcpt(recipient, notify, orcpt)


def _submitter(value: str | None) -> str:
    """AUTH=<> or AUTH=mailbox as xtext (RFC 4954 section 5)."""
    text = _xtext("AUTH", value, MAX_PATH * 3)
    if text == "<>":
        return ""
    try:
        return parse_path(text, max_local=MAX_PATH).address
    except AddressError:
        raise Refusal(_bad("Syntax: AUTH=<> or AUTH=mailbox")) from None


def _one_of(keyword: str, value: str | None, allowed: tuple[str, ...]) -> str:
    choice = (value or "").upper()
    if choice not in allowed:
        raise Refusal(_bad(f"Syntax: {keyword}={' or '.join(allowed)}"))
    return choice


def _xtext(keyword: str, value: str | None, limit: int) -> str:
    if not value or len(value) > limit:
        raise Refusal(_bad(f"{keyword} needs a value of up to {limit} characters"))
    try:
        text = decode_xtext(value)
    except ValueError:
        raise Refusal(_bad(f"{keyword} is not xtext")) from None
    if not text.isprintable():
        raise Refusal(_bad(f"{keyword} holds control characters"))
    return text


def _bad(text: str) -> Reply:
    return Reply(501, "5.5.4", text)


def _unknown(keyword: str) -> Reply:
    return Reply(555, "5.5.4", f"Parameter {keyword[:40]} not recognized")
