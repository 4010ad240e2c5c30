"""IMAP section addressing on a tree of parts (RFC 3501 section 6.4.5, RFC 9051 section 6.4.5.1)."""

from __future__ import annotations

from pillarbox.mime.tree import Part


def find_part(root: Part, numbers: tuple[int, ...]) -> Part | None:
    """The part that part numbers name: `()` is the message itself, `(2, 1)` is part 2.1. None when there is none.

    A message whose content is no multipart has a part 1, which is its content; the numbers after a message/rfc822 part
    go on inside the embedded message.
    """
    part, message = root, True  # `message`: the next number counts the parts of a message, not of a part
    for number in numbers:
        if not message and part.is_message:
            part, message = part.children[0], True
        if part.is_multipart:
            if not 1 <= number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif not message or number != 1:
            return None
        message = False
    return part


def locate(root: Part, numbers: tuple[int, ...], kind: str = "") -> tuple[int, int] | None:
    """Start and end offset of a section; None when the message has no such section.

    `kind` is "" (the content of the part; of the message with no numbers: all of it), "HEADER" or "TEXT" (of the
    message, or of the message that is embedded in the part), or "MIME" (the header of the part).
    """
    part = find_part(root, numbers)
    if part is None:
        return None
    if kind == "":
        return (part.body, part.end) if numbers else (part.header, part.end)
    if kind == "MIME":
        return (part.header, part.body) if numbers else None
    if numbers:
        if not part.is_message:
            return None
        part = part.children[0]
    if kind == "HEADER":
        return part.header, part.body
    if kind == "TEXT":
        return part.body, part.end
    return None
