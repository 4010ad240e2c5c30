"""A part whose end is not seen yet: gathers its children, and becomes a node of the tree with its rendering."""

from __future__ import annotations

from pillarbox.mime.content import Content, describe
from pillarbox.mime.structure import Rendered, render_basic, render_message, render_multipart, render_text
from pillarbox.mime.tree import Part

_TEXT = describe({})  # what is shown of a multipart without parts: text/plain


class OpenPart:
    """`header` and `body` are offsets; `lines_before` the line feeds of the message before the body."""

    __slots__ = (
        "bodies", "body", "boundary", "children", "content", "envelope", "header", "lines_before", "shadowed",
        "structures",
    )  # fmt: skip

    def __init__(self, content: Content, header: int, body: int, lines_before: int) -> None:
        self.content = content
        self.header = header
        self.body = body
        self.lines_before = lines_before
        self.boundary = b""  # while delimiters of it are looked for
        self.shadowed: int | None = None  # the level of an outer multipart with the same boundary
        self.children: list[Part] = []
        self.bodies: list[bytes] = []
        self.structures: list[bytes] = []
        self.envelope = b""  # of the message embedded in this part

    def add(self, node: Part, rendered: Rendered) -> None:
        """The next child is complete."""
        self.children.append(node)
        self.bodies.append(rendered[0])
        self.structures.append(rendered[1])

    def finish(self, end: int, lines: int) -> tuple[Part, Rendered]:
        """The part as it is kept; `lines` are the line feeds of its content, where they were counted."""
        content = self.content
        size = end - self.body
        if content.is_multipart or content.is_message:
            if not self.children:
                self._add_text(end, lines)
            elif content.is_multipart:
                lines = 0
        if content.is_multipart:
            rendered = render_multipart(content, self.bodies, self.structures)
        elif content.is_message:
            rendered = render_message(content, size, lines, self.envelope, self.bodies[0], self.structures[0])
        elif content.type == "text":
            rendered = render_text(content, size, lines)
        else:
            lines = 0
            rendered = render_basic(content, size)
        node = Part(
            self.header, self.body, end, lines, content.type, content.subtype, content.charset, content.encoding,
            content.filename, content.disposition, content.content_id, self.children,
        )  # fmt: skip
        return node, rendered

    def _add_text(self, end: int, lines: int) -> None:
        """The one child of a part that must have one and in which none was found: all of its content, as text."""
        node = Part(self.body, self.body, end, lines, _TEXT.type, _TEXT.subtype, "us-ascii", "7bit", "", "", "", [])
        self.add(node, render_text(_TEXT, end - self.body, lines))
