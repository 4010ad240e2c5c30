"""The text of a message: for searching, and the first words of it for lists."""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.mime.charset import decode
from pillarbox.mime.header import header_text
from pillarbox.mime.html import html_text
from pillarbox.mime.transfer import decode_transfer
from pillarbox.mime.tree import Part

__all__ = ["decode_part", "decode_transfer", "plain_text", "preview_of", "search_text"]

MAX_PREVIEW = 256  # characters
MAX_TEXT_PART = 4 * 1024 * 1024  # octets of one text part that are searched

_FIRST_LOOK = 600  # octets of a plain text that nearly always make a whole preview

Slice = Callable[[int, int], bytes]


def plain_text(raw: bytes, encoding: str, charset: str, subtype: str) -> str:
    """The raw octets of a text part as text; HTML without its markup. An unknown encoding is taken as none."""
    content = decode_transfer(raw, encoding)
    text = decode(raw if content is None else content, charset)
    return html_text(text) if subtype in ("html", "xhtml+xml") else text


def decode_part(get_slice: Slice, part: Part) -> str:
    """The text of one text part; `get_slice(start, end)` gives octets of the message."""
    raw = get_slice(part.body, min(part.end, part.body + MAX_TEXT_PART))
    return plain_text(raw, part.encoding, part.charset, part.subtype)


def search_text(get_slice: Slice, root: Part, *, headers: bool = False) -> str:
    """What IMAP SEARCH BODY looks at: the text of all text parts, the headers of embedded messages and the names of
    attached files, a line feed between them. With `headers` the message's own header first (SEARCH TEXT)."""
    found: list[str] = []
    if headers:
        found.append(header_text(get_slice(root.header, root.body)))
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.filename:
            found.append(part.filename)
        if part.is_message:
            child = part.children[0]
            found.append(header_text(get_slice(child.header, child.body)))
        elif part.type == "text":
            found.append(decode_part(get_slice, part))
        waiting.extend(reversed(part.children))
    return "\n".join(found)


def preview_of(raw: bytes, encoding: str, charset: str, subtype: str) -> str:
    """The first words of a text part whose beginning is `raw`, in one line of at most 256 characters."""
    if subtype != "html" and len(raw) > _FIRST_LOOK:
        preview = _one_line(plain_text(raw[:_FIRST_LOOK], encoding, charset, subtype))
        if len(preview) == MAX_PREVIEW:
            return preview
    return _one_line(plain_text(raw, encoding, charset, subtype))


def _one_line(text: str) -> str:
    preview = " ".join(text[: MAX_PREVIEW * 8].replace("\0", "").split())
    return preview[:MAX_PREVIEW] if len(preview) >= MAX_PREVIEW else preview.rstrip("\ufffd ")
