"""A next hop that takes everything and remembers when it answered 250 for which message."""

from __future__ import annotations

import asyncio
import re
import threading
import time

_NAME = re.compile(rb"^Subject: (\S+)\r$", re.MULTILINE)


class RecordingSink:
    """Listens on loopback in a thread of its own. `taken`: (monotonic time of the 250, name of the message)."""

    def __init__(self, answering: float = 0.02) -> None:
        self.taken: list[tuple[float, str]] = []
        self.connections = 0
        self._answering = answering
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._session, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            writer.write(b"220 sink.test ESMTP\r\n")
            while line := await reader.readline():
                word = line[:4].upper()
                if word == b"EHLO":
                    writer.write(b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif word == b"DATA":
                    writer.write(b"354 go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(self._answering)
                    found = _NAME.search(content)
                    assert found is not None
                    self.taken.append((time.monotonic(), found[1].decode()))
                    writer.write(b"250 2.0.0 taken\r\n")
                elif word == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 2.0.0 fine\r\n")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
