"""What commands say about annotations of messages (RFC 5257), as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class AnnotationChange(NamedTuple):
    """An entry is to have this value, None to be removed; `shared`: everybody's, else the account's own."""

    entry: str
    shared: bool
    value: bytes | None


@dataclass(slots=True, frozen=True)
class Annotations:
    """The item ANNOTATION of FETCH: entries, perhaps with wildcards, and attributes such as "value.priv" in their
    order."""

    entries: tuple[str, ...]
    attributes: tuple[str, ...]
