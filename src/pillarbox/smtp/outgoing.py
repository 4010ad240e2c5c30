"""What a client writes: MAIL and RCPT with the parameters that the server offers, and the content."""

import re
from collections.abc import Mapping

from msgspec import Struct

from pillarbox.smtp.address import MAX_PATH, parse_path

_BARE = re.compile(rb"\r\n|\r|\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_XTEXT = re.compile(r"[^!-*,-<>-~]")


class Sender(Struct, frozen=True):
    """The reverse path and its parameters; `address` is "" for the null sender. See `events.Mail`."""

    address: str
    size: int | None = None
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class Recipient(Struct, frozen=True):
    """A forward path and its parameters. See `events.Rcpt`."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str = ""


def mail_line(sender: Sender, extensions: Mapping[str, str]) -> bytes:
    """The MAIL command. Raises ValueError when a value is no address or would break out of its line."""
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
    return _command(words)


def rcpt_line(recipient: Recipient, extensions: Mapping[str, str]) -> bytes:
    """The RCPT command. Raises ValueError when a value is no address or would break out of its line."""
    if recipient.address.lower() != "postmaster":
        parse_path(recipient.address, max_local=MAX_PATH)
    words = [f"RCPT TO:<{recipient.address}>"]
    if "DSN" in extensions:
        if recipient.notify:
            words.append(f"NOTIFY={','.join(recipient.notify)}")
        kind, semicolon, address = recipient.orcpt.partition(";")
        if semicolon:
            words.append(f"ORCPT={kind};{encode_xtext(address)}")
    return _command(words)


def takes_binary(extensions: Mapping[str, str]) -> bool:
    """BODY=BINARYMIME, which needs BDAT (RFC 3030 section 3)."""
    return "BINARYMIME" in extensions and "CHUNKING" in extensions


def encode_xtext(text: str) -> str:
    """RFC 3461 section 4; characters beyond ASCII as their UTF-8 octets."""
    return _NO_XTEXT.sub(lambda char: "".join(f"+{octet:02X}" for octet in char[0].encode()), text)


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
