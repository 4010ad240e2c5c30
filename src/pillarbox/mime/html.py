"""HTML to the text a reader would see, roughly: for searching and previews, not for showing. Linear, never raises."""

from __future__ import annotations

import html
import re

# Content that is not shown. Found by `str.find`, each closing tag only until one is missing: an unclosed one hides
# the rest, and is not looked for again from every further opening.
_HIDDEN = re.compile(r"<(?:(!--)|(script|style|head|title|template)(?=[\s>/]))", re.IGNORECASE)
_BLOCK = re.compile(
    r"</?(?:address|article|aside|blockquote|br|caption|center|dd|div|dl|dt|fieldset|figure|footer|form|h[1-6]|header|hr|"
    r"li|main|nav|ol|option|p|pre|section|table|tbody|td|tfoot|th|thead|tr|ul)(?![a-z0-9-])[^<>]*+>?",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?=[a-zA-Z/!?])[^<>]*+>?")
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{8,}+;?")  # int() of thousands of digits raises


def html_text(source: str) -> str:
    """The text of an HTML document, block elements as lines of their own, white space collapsed."""
    text = _TAG.sub("", _BLOCK.sub("\n", _without_hidden(source)))
    if "&" in text:
        text = html.unescape(_LONG_NUMBER.sub(" ", text))
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join([line for line in lines if line])


def _without_hidden(source: str) -> str:
    lower = source.lower()
    if len(lower) != len(source):  # a few letters change their length; closing tags are ASCII
        lower = source
    out: list[str] = []
    at, open_head = 0, False
    while (match := _HIDDEN.search(source, at)) is not None:
        out.append(source[at : match.start()])
        name = match[2]
        closing = "-->" if name is None else f"</{name.lower()}"
        end = -1 if open_head and closing == "</head" else lower.find(closing, match.end())
        if end < 0:
            if closing == "</head":  # what is in a head that never ends is shown, if it can be
                open_head = True
                at = (source.find(">", match.end()) + 1) or len(source)
                continue
            return "".join(out)
        at = end + len(closing)
        if name is not None:
            at = (source.find(">", at) + 1) or len(source)
    out.append(source[at:])
    return "".join(out)
