"""Senders that remember what they were promised: the load under which the server is killed.

Each sender is a process of its own (the test's own GIL must not slow the load down). It sends messages that name
themselves, and writes the name of each one that got `250` to a file in memory before it sends the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import socket
import time

LINE = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n"


def message(name: str) -> bytes:
    """The message that goes by this name: its size and octets follow from the name alone (1 KiB to 600 KiB)."""
    chance = random.Random(name)
    size = chance.choice((1_000, 4_000, 4_000, 20_000, 20_000, 100_000, 600_000))
    body = b"".join(b".%d %s" % (n, LINE) if n % 7 == 0 else LINE for n in range(size // len(LINE)))
    seal = hashlib.sha256(body + name.encode()).hexdigest()
    return f"Subject: {name}\r\nX-Seal: {seal}\r\n\r\n".encode() + body


class Sender:
    """One process that sends until it is told to stop, and reconnects whenever the server goes away."""

    def __init__(self, number: int, port: int, recipients: list[str]) -> None:
        self._stop = multiprocessing.Event()
        self._promises = os.memfd_create(
            f"promises-{number}"
        )  # outlives the process, and never fills up as a pipe does
        arguments = (number, port, recipients, self._promises, self._stop)
        self._process = multiprocessing.get_context("fork").Process(target=_send_all, args=arguments, daemon=True)
        self._process.start()

    def stop(self) -> set[tuple[str, str]]:
        """(name, recipient) of all that were promised."""
        self._stop.set()
        self._process.join(30)
        with os.fdopen(self._promises, "rb") as promises:
            promises.seek(0)
            lines = promises.read().decode().splitlines()
        return {tuple(line.split(" ")) for line in lines}  # type: ignore[misc]


def _send_all(number: int, port: int, recipients: list[str], promises: int, stop) -> None:  # type: ignore[no-untyped-def]
    count = 0
    chance = random.Random(f"{number} {os.getpid()} {time.time()}")
    while not stop.is_set():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(20)
            lines = connection.makefile("rb")
            _expect(lines, b"220")
            _say(connection, lines, b"EHLO crash.test", b"250")
            while not stop.is_set():
                count += 1
                name = f"m-{number}-{os.getpid()}-{count}-{chance.getrandbits(40):x}"
                to = chance.sample(recipients, chance.choice((1, 1, len(recipients))))
                _say(connection, lines, b"MAIL FROM:<sender@elsewhere.test>", b"250")
                for recipient in to:
                    _say(connection, lines, b"RCPT TO:<" + recipient.encode() + b">", b"250")
                _say(connection, lines, b"DATA", b"354")
                connection.sendall(message(name).replace(b"\r\n.", b"\r\n..") + b".\r\n")
                _expect(lines, b"250")
                os.write(promises, "".join(f"{name} {recipient}\n" for recipient in to).encode())
        time.sleep(0.01)


def _say(connection: socket.socket, lines, command: bytes, code: bytes) -> None:  # type: ignore[no-untyped-def]
    connection.sendall(command + b"\r\n")
    _expect(lines, code)


def _expect(lines, code: bytes) -> None:  # type: ignore[no-untyped-def]
    while True:
        line = lines.readline()
        if not line.startswith(code):
            raise OSError(f"wanted {code!r}, got {line!r}")
        if line[3:4] == b" ":
            return
