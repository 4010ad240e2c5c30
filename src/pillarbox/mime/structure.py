"""IMAP BODY and BODYSTRUCTURE of one part, from its description and those of its children.

RFC 3501 section 7.4.2, RFC 9051 section 7.5.2. Each function gives both: `(BODY, BODYSTRUCTURE)`, the second with the
extension data (MD5, disposition, language, location).
"""

from __future__ import annotations

from pillarbox.mime.content import Content
from pillarbox.mime.envelope import EMPTY

Rendered = tuple[bytes, bytes]


def render_basic(content: Content, size: int) -> Rendered:
    """body-type-basic: `size` counts the octets of the content as sent."""
    start = b"(%b %d" % (content.basic, size)
    return start + b")", b"%b%b%b)" % (start, content.md5, content.extension)


def render_text(content: Content, size: int, lines: int) -> Rendered:
    """body-type-text."""
    start = b"(%b %d %d" % (content.basic, size, lines)
    return start + b")", b"%b%b%b)" % (start, content.md5, content.extension)


def render_message(
    content: Content, size: int, lines: int, envelope: bytes, child_body: bytes, child_structure: bytes
) -> Rendered:
    """body-type-msg: with the envelope (b"" when it is not known) and structure of the embedded message."""
    start = b"(%b %d %b " % (content.basic, size, envelope or EMPTY)
    return (
        b"%b%b %d)" % (start, child_body, lines),
        b"%b%b %d%b%b)" % (start, child_structure, lines, content.md5, content.extension),
    )


def render_multipart(content: Content, bodies: list[bytes], structures: list[bytes]) -> Rendered:
    """body-type-mpart: at least one child, which the grammar demands."""
    return (
        b"(%b %b)" % (b"".join(bodies), content.quoted_subtype),
        b"(%b %b %b%b)" % (b"".join(structures), content.quoted_subtype, content.parameters, content.extension),
    )
