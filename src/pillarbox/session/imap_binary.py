"""Transfer encodings undone piece by piece, so that BINARY of a large part holds one piece of it in memory.

The pieces joined are exactly what `mime.transfer.decode_transfer` makes of the whole.
"""

from __future__ import annotations

from pillarbox.mime.transfer import decode_base64, decode_transfer

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_JUNK = bytes(set(range(256)) - set(_BASE64))
_LONGEST_LINE = 64 * 1024  # octets of quoted-printable without a line end that are kept back
_SOONEST = 1024  # octets from its end in which a place to cut such a line is looked for


class Base64Pieces:
    """Base64: what is no multiple of four characters waits for the next piece."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, raw: bytes) -> bytes:
        """The octets that these characters complete."""
        text = self._rest + raw.translate(None, _JUNK)
        # After padding it begins anew (joined encodings); only behind the last padding do groups of four count.
        padded = text.rfind(b"=") + 1
        whole = padded + (len(text) - padded) // 4 * 4
        self._rest = text[whole:]
        return decode_base64(text[:whole])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return decode_base64(rest)


class QuotedPrintablePieces:
    """Quoted-printable: the last line waits for its end."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, raw: bytes) -> bytes:
        """The octets of the lines that are complete."""
        text = self._rest + raw
        whole = text.rfind(b"\n") + 1
        if len(text) - whole > _LONGEST_LINE:
            whole = _inside_line(text, whole)
        self._rest = text[whole:]
        return decode_transfer(text[:whole], "quoted-printable") or b""

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return decode_transfer(rest, "quoted-printable") or b""


def _inside_line(text: bytes, start: int) -> int:
    """Where an endless line may be cut, or its start: not inside `=XX`, not behind white space (it may be padding)."""
    if b"=\r" in text[start:]:
        return start  # a soft break that was broken: all up to the next line end goes
    for at in range(len(text), len(text) - _SOONEST, -1):
        if b"=" not in text[at - 2 : at] and text[at - 1 : at] not in (b" ", b"\t", b"\r"):
            return at
    return start


Pieces = Base64Pieces | QuotedPrintablePieces


def pieces_for(encoding: str) -> Pieces:
    """The decoder of "base64" or "quoted-printable"."""
    return Base64Pieces() if encoding == "base64" else QuotedPrintablePieces()
