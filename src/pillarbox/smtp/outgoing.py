"""What a client writes: MAIL and RCPT with the parameters that the server offers, and the content."""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from pillarbox.smtp.address import MAX_PATH, parse_path

_BARE = re.compile(rb"\r\n|\r|\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_XTEXT = re.compile(r"[^!-*,-<>-~]")
_NO_UTF8_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")
_NO_UNITEXT = re.compile(r"[^!-*,-<>-\[\]-~\x80-\U0010ffff]")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{1,8})\}")
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_MAX_BY = 999_999_999  # seconds; RFC 2852 section 4


class Sender(Struct, frozen=True):
    """The reverse path and its parameters; `address` is "" for the null sender. See `events.Mail`.

    `priority` is that of MT-PRIORITY (RFC 6710), -9 to 9. `deliver_by` is in seconds from now, `deliver_mode` R or N,
    with T for a trace (RFC 2852)."""

    address: str
    size: int | None = None
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    priority: int = 0
    deliver_by: int | None = None
    deliver_mode: str = ""


class Recipient(Struct, frozen=True):
    """A forward path and its parameters. See `events.Rcpt`."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str = ""


def mail_line(sender: Sender, extensions: Mapping[str, str]) -> bytes:
    """The MAIL command, without parameters that the server does not offer. Raises ValueError when a value is no address
    or would break out of its line."""
    if sender.address:
        parse_path(sender.address, max_local=MAX_PATH)
    words = [f"MAIL FROM:<{sender.address}>"]
    if sender.size is not None and "SIZE" in extensions:
        words.append(f"SIZE={sender.size}")
    if sender.body in _bodies(extensions):
        words.append(f"BODY={sender.body}")
    if sender.smtputf8 and "SMTPUTF8" in extensions:
        words.append("SMTPUTF8")
    if "DSN" in extensions:
        if sender.ret:
            words.append(f"RET={sender.ret}")
        if sender.envid:
            words.append(f"ENVID={encode_xtext(sender.envid)}")
    if sender.priority and "MT-PRIORITY" in extensions:
        words.append(f"MT-PRIORITY={sender.priority}")
    if sender.deliver_by is not None and "DELIVERBY" in extensions:
        seconds = max(-_MAX_BY, min(sender.deliver_by, _MAX_BY))
        words.append(f"BY={seconds};{sender.deliver_mode or 'N'}")
    return _command(words)


def rcpt_line(recipient: Recipient, extensions: Mapping[str, str]) -> bytes:
    """The RCPT command. Raises ValueError when a value is no address or would break out of its line."""
    if recipient.address.lower() != "postmaster":
        parse_path(recipient.address, max_local=MAX_PATH)
    words = [f"RCPT TO:<{recipient.address}>"]
    if "DSN" in extensions:
        if recipient.notify:
            words.append(f"NOTIFY={','.join(recipient.notify)}")
        if ";" in recipient.orcpt:
            words.append(f"ORCPT={encode_orcpt(recipient.orcpt, utf8='SMTPUTF8' in extensions)}")
    return _command(words)


def extensions_of(lines: Sequence[str]) -> dict[str, str]:
    """The lines of an EHLO answer after the first: keyword in upper case -> its parameters."""
    found: dict[str, str] = {}
    for line in lines:
        keyword, _, rest = line.strip().partition(" ")
        keyword = keyword.upper()
        if keyword.startswith("AUTH="):  # as servers said before RFC 2554; some say both
            keyword, rest = "AUTH", f"{keyword[5:]} {rest}"
        if keyword:
            found.setdefault(keyword, rest.strip())
    return found


def size_limit(extensions: Mapping[str, str]) -> int:
    """The largest message in octets that the server announces (RFC 1870), 0 for none."""
    return _number(extensions.get("SIZE", ""))


def limit(extensions: Mapping[str, str], name: str) -> int:
    """A limit by the LIMITS extension (RFC 9422), such as RCPTMAX; 0 for none."""
    for word in extensions.get("LIMITS", "").upper().split():
        key, _, value = word.partition("=")
        if key == name:
            return _number(value)
    return 0


def _number(text: str) -> int:
    return int(text) if _DIGITS.fullmatch(text) else 0


def takes_binary(extensions: Mapping[str, str]) -> bool:
    """BODY=BINARYMIME, which needs BDAT (RFC 3030 section 3)."""
    return "BINARYMIME" in extensions and "CHUNKING" in extensions


def encode_xtext(text: str) -> str:
    """RFC 3461 section 4; characters beyond ASCII as their UTF-8 octets."""
    return _NO_XTEXT.sub(lambda char: "".join(f"+{octet:02X}" for octet in char[0].encode()), text)


def encode_orcpt(orcpt: str, *, utf8: bool) -> str:
    """`type;address` as the value of ORCPT. An address beyond ASCII is of the type utf-8, whose form depends on whether
    the server takes `utf8` (RFC 6533 section 3); it may come with `\\x{...}` in it."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8" and address.isascii():
        return f"{kind};{encode_xtext(address)}"
    if kind.lower() == "utf-8":
        address = _EMBEDDED.sub(lambda found: _character(found[1]), address)
    outside = _NO_UNITEXT if utf8 else _NO_UTF8_XTEXT
    return "utf-8;" + outside.sub(lambda char: f"\\x{{{ord(char[0]):02X}}}", address)


def _character(digits: str) -> str:
    code = int(digits, 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def _bodies(extensions: Mapping[str, str]) -> set[str]:
    bodies = {"7BIT", "8BITMIME"} if "8BITMIME" in extensions else set()
    return bodies | {"BINARYMIME"} if takes_binary(extensions) else bodies


def _command(words: list[str]) -> bytes:
    line = " ".join(words)
    if _CONTROL.search(line):
        raise ValueError("control character in an SMTP command")
    return line.encode() + b"\r\n"


class DataWriter:
    """The content of a DATA: CRLF everywhere, dots stuffed, the end."""

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last octets given; a dot now is at the beginning of a line
        self._held = b""  # a CR that may have its LF in the next piece

    def piece(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(self._held)]
        return self._stuffed(data)

    def end(self) -> bytes:
        last = self._stuffed(b"\r\n") if self._held else b""
        if self._tail != b"\r\n":
            last += b"\r\n"
        return last + b".\r\n"

    def _stuffed(self, data: bytes) -> bytes:
        if not data:
            return b""
        rest = data.replace(b"\r\n", b"")
        if b"\r" in rest or b"\n" in rest:
            data = _BARE.sub(b"\r\n", data)
        begins = self._tail == b"\r\n" and data.startswith(b".")
        self._tail = (self._tail + data[-2:])[-2:]
        data = data.replace(b"\r\n.", b"\r\n..")
        return b"." + data if begins else data


class ChunkWriter:
    """The content by BDAT (RFC 3030): octets as they are."""

    def piece(self, data: bytes) -> bytes:
        return b"BDAT %d\r\n" % len(data) + data

    def end(self) -> bytes:
        return b"BDAT 0 LAST\r\n"
