"""`sendmail -bs`: standard input and output become a conversation with the server of this machine."""

from __future__ import annotations

import os
import re
import select
import socket

_PIECE = 1 << 16
_BARE = re.compile(rb"(?<!\r)\n")


class Lines:
    """What comes on standard input, as SMTP has it: who ends the first line by LF alone, as a person at a terminal and
    `printf` do, ends all lines so, and each gets its CR. Of others nothing is changed: BDAT counts octets."""

    def __init__(self) -> None:
        self._bare: bool | None = None  # not known before the first line is in
        self._held = b""  # a CR that may have its LF in the next piece

    def crlf(self, data: bytes) -> bytes:
        """The next octets, cut anywhere."""
        data = self._held + data
        if self._bare is None and b"\n" in data:
            self._bare = not data.partition(b"\n")[0].endswith(b"\r")
        self._held = b"\r" if data.endswith(b"\r") else b""
        data = data[: len(data) - len(self._held)]
        return _BARE.sub(b"\r\n", data) if self._bare else data


def pipe(path: str, incoming: int = 0, outgoing: int = 1) -> int:
    """Carry octets both ways until the server closes. `path` is its socket; the others are descriptors."""
    try:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _write(outgoing, f"421 4.3.2 The mail server is not there ({reason}), try again later\r\n".encode())
        return os.EX_TEMPFAIL
    sources: list[socket.socket | int] = [server, incoming]
    lines = Lines()
    try:
        while server in sources:
            ready, _, _ = select.select(sources, [], [])
            if incoming in ready:
                data = os.read(incoming, _PIECE)
                if data:
                    server.sendall(lines.crlf(data))
                else:  # the replies to what was said are still to come
                    sources.remove(incoming)
                    server.shutdown(socket.SHUT_WR)
            if server in ready:
                data = server.recv(_PIECE)
                if not data:
                    sources.remove(server)
                _write(outgoing, data)
    except (BrokenPipeError, ConnectionResetError):
        return os.EX_TEMPFAIL
    finally:
        server.close()
    return os.EX_OK


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
