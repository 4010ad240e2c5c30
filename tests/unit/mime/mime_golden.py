"""Writes what the MIME room makes of a message as text; run as a program it renews all of tests/data/mime/expected."""

from __future__ import annotations

from pathlib import Path

from pillarbox.mime.analysis import Part, analyse, load_parts
from pillarbox.mime.text import decode_part

DATA = Path(__file__).parents[2] / "data" / "mime"


def messages() -> list[Path]:
    return sorted(DATA.glob("*.eml"))


def expectation(message: Path) -> Path:
    return DATA / "expected" / f"{message.stem}.txt"


def describe(data: bytes) -> str:
    """Everything that is computed at delivery, readable: literals and 8-bit octets are escaped."""
    analysis = analyse(data)
    root = load_parts(analysis.parts)
    lines = [
        f"envelope: {_shown(analysis.envelope)}",
        f"bodystructure: {_shown(analysis.bodystructure)}",
        f"body: {_shown(analysis.body)}",
        f"header: {analysis.header_size} of {analysis.size} octets",
        f"subject: {analysis.subject!r}",
        f"base subject: {analysis.base_subject!r}",
        f"message id: {analysis.message_id!r}",
        f"in reply to: {list(analysis.in_reply_to)}",
        f"references: {list(analysis.references)}",
        f"sent: {analysis.sent_at} zone {analysis.sent_zone}",
        f"preview: {analysis.preview!r}",
        "parts:",
    ]
    lines += _tree(root, data, "", "  ")
    return "\n".join(lines) + "\n"


def _tree(part: Part, data: bytes, number: str, indent: str) -> list[str]:
    words = [f"{indent}{number or 'message'}", f"{part.type}/{part.subtype}"]
    words.append(f"header {part.header} body {part.body} end {part.end} lines {part.lines}")
    for name in ("charset", "encoding", "filename", "disposition", "content_id"):
        if getattr(part, name) and getattr(part, name) != "7bit":
            words.append(f"{name}={getattr(part, name)!r}")
    lines = [" ".join(words)]
    if part.type == "text":
        lines.append(f"{indent}  | {decode_part(lambda start, end: data[start:end], part)!r}")
    prefix = f"{number}." if number else ""
    for i, child in enumerate(part.children, 1):
        if part.is_message:
            lines += _tree(child, data, f"{prefix}message", indent + "  ")
        else:
            lines += _tree(child, data, f"{prefix}{i}", indent + "  ")
    return lines


def _shown(rendered: bytes) -> str:
    return rendered.decode("ascii", "backslashreplace").replace("\r", "\\r").replace("\n", "\\n")


if __name__ == "__main__":
    for path in messages():
        expectation(path).parent.mkdir(exist_ok=True)
        expectation(path).write_bytes(describe(path.read_bytes()).encode())
