"""Text from outside, as both engines take it: PostgreSQL has no NUL in it, neither takes lone surrogates."""

from __future__ import annotations


def storable(value: str, most: int | None = None) -> str:
    """The text with replacement characters where it has to be, cut at `most` characters."""
    if most is not None:
        value = value[:most]
    if "\0" in value:
        value = value.replace("\0", "\ufffd")
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value
