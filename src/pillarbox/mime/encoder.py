"""Content-Transfer-Encoding done, octets in and octets out, in pieces cut anywhere. The end of the line that follows a
part belongs to what comes after it, so neither encoder writes one at its end."""

from __future__ import annotations

import binascii
from typing import Protocol

_LINE = 57  # octets that make a line of 76 characters


class Encoder(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class Base64Encoder:
    """RFC 2045 section 6.8."""

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        whole = len(data) - len(data) % _LINE
        self._held = data[whole:]
        return self._lines(data[:whole])

    def end(self) -> bytes:
        last, self._held = self._held, b""
        return self._lines(last)

    def _lines(self, data: bytes) -> bytes:
        if not data:
            return b""
        encode = binascii.b2a_base64
        lines = b"\r\n".join([encode(data[at : at + _LINE], newline=False) for at in range(0, len(data), _LINE)])
        if self._begun:
            return b"\r\n" + lines
        self._begun = True
        return lines


class QuotedPrintableEncoder:
    """RFC 2045 section 6.7, for text: CRLF stays a line end. Lines must not be endless: one is kept until it ends."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        whole = data.rfind(b"\r\n") + 2
        if whole < 2:
            whole = 0
        self._held = data[whole:]
        return _quoted(data[:whole])

    def end(self) -> bytes:
        last, self._held = self._held, b""
        return _quoted(last)


def _quoted(text: bytes) -> bytes:
    return b"\r\n".join([_quoted_line(line) if line else b"" for line in text.split(b"\r\n")])


def _quoted_line(line: bytes) -> bytes:
    # b2a_qp breaks long lines with the line end it has seen; there is none in here, so that would be a bare LF.
    return binascii.b2a_qp(line, quotetabs=False, istext=True).replace(b"\n", b"\r\n")


def encoder_for(encoding: str) -> Encoder:
    """For "base64" or "quoted-printable"."""
    return Base64Encoder() if encoding == "base64" else QuotedPrintableEncoder()
