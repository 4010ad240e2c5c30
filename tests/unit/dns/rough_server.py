"""A DNS server in the test's own loop that says what the test wants, also what no server should."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

Reply = Callable[[bytes], bytes | None]  # a question to what is sent back
NXDOMAIN, SERVFAIL, REFUSED, FORMERR, NOTIMP = 3, 2, 5, 1, 4


class RoughServer(asyncio.DatagramProtocol):
    """`async with RoughServer(reply) as server`; `server.address` as the resolver spells it."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.questions = reply, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.questions += 1
        reply = self.reply(data)
        if reply is not None:
            self.transport.sendto(reply, addr)

    async def __aenter__(self) -> RoughServer:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1@{self.transport.get_extra_info('sockname')[1]}"


def question_end(question: bytes) -> int:
    at = 12
    while question[at]:
        at += 1 + question[at]
    return at + 5


def wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label) + b"\0"


def record(owner: str, number: int, data: bytes, ttl: int = 300) -> bytes:
    """One record; the owner "" stands for the name that was asked."""
    name = wire(owner) if owner else b"\xc0\x0c"
    return name + struct.pack(">HHIH", number, 1, ttl, len(data)) + data


def answer(question: bytes, *records: bytes, code: int = 0, flags: int = 0x8180, authority: bytes = b"") -> bytes:
    """A reply to a question with some records."""
    head = question[:2] + struct.pack(">HHHHH", flags | code, 1, len(records), 1 if authority else 0, 0)
    return head + question[12 : question_end(question)] + b"".join(records) + authority


def asked(question: bytes) -> tuple[str, int]:
    """The name and the kind's number of a question."""
    at, labels = 12, []
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode("latin-1").lower())
        at += 1 + question[at]
    return ".".join(labels), question[at + 1] << 8 | question[at + 2]
