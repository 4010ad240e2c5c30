"""`sendmail -bs`: standard input and output become a conversation with the server of this machine."""

from __future__ import annotations

import os
import select
import socket

_PIECE = 1 << 16


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
    try:
        while server in sources:
            ready, _, _ = select.select(sources, [], [])
            if incoming in ready:
                data = os.read(incoming, _PIECE)
                if data:
                    server.sendall(data)
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
