"""Loops of forwarding: a message that an address of ours has sent on says so, and is not sent on there again.

`Delivered-To:` is what every mail server writes and reads for this; a list is also known by its `List-Id:`.
"""

from __future__ import annotations

import re

from pillarbox.store.addresses import address_key
from pillarbox.store.errors import Invalid

MOST_FIELDS = 200  # of either name that are looked at; a message has at most 100 hops

_FIELD = re.compile(rb"(?im)^(?:delivered-to|list-id)[ \t]*:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)")
_END = re.compile(rb"\r?\n\r?\n")


class Passed:
    """Where a message has been, by the fields of its header. `head` is its beginning."""

    __slots__ = ("_addresses", "_lists")

    def __init__(self, head: bytes) -> None:
        self._addresses: set[str] = set()
        self._lists: set[str] = set()
        end = _END.search(head)
        header = head if end is None else head[: end.start()]
        for _, field in zip(range(MOST_FIELDS), _FIELD.finditer(header), strict=False):
            value = field[1].decode("utf-8", "replace").strip()
            if field[0][:1] in b"dD":
                try:
                    self._addresses.add(address_key(value.strip("<>")))
                except Invalid:
                    continue
            else:
                self._lists.add(value.rpartition("<")[2].rstrip("> \t").lower())

    def through(self, address: str) -> bool:
        """Whether it was sent on by this address of ours."""
        try:
            return address_key(address) in self._addresses
        except Invalid:
            return False

    def through_list(self, address: str, list_id: str) -> bool:
        return list_id.lower() in self._lists or self.through(address)


def trace(address: str) -> bytes:
    """The field that says so, with its CRLF."""
    return f"Delivered-To: {address}\r\n".encode()
