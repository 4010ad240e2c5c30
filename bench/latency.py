"""How long a sender waits: from the end of DATA to `250`, at 50 sessions that never pause.

    python bench/latency.py --sessions 50 --messages 5000

The load is a closed loop (each session sends its next message when the last was answered), on kept connections.
Prints the percentiles of Pillarbox, and with --all those of Postfix (to Maildir and to Dovecot) from the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import cast

import uvloop

from servers import Dns, Pillarbox, Postfix, PostfixDovecot, Server, prepare


class Sender(asyncio.Protocol):
    """One session: EHLO, then message after message until the shared count is used up."""

    def __init__(self, work: Work, done: asyncio.Future[None]) -> None:
        self._work, self._done, self._step = work, done, 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are no instances of it
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-":
                self._reply(line)

    def _reply(self, line: bytes) -> None:
        if not line.startswith((b"2", b"3")):
            self._done.set_exception(OSError(f"refused: {line!r}"))
            self._transport.close()
            return
        work, step = self._work, self._step
        if step == 5:
            work.latencies.append(time.perf_counter() - self._sent_at)
            step = 1
        elif step == 0:
            self._send(b"EHLO bench.test\r\n")
            self._step = 1
            return
        if step == 1:
            if not work.left:
                self._transport.close()
                if not self._done.done():
                    self._done.set_result(None)
                return
            work.left -= 1
        self._send(work.commands[step - 1])
        self._sent_at = time.perf_counter()
        self._step = step + 1

    def _send(self, data: bytes) -> None:
        self._transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or OSError("the server closed the connection"))


class Work:
    """What all sessions share: messages left to send, and the latencies seen, in seconds."""

    def __init__(self, recipient: str, messages: int, size: int) -> None:
        body = b"Subject: latency\r\nFrom: bench@sender.test\r\n\r\n" + b"0123456789abcdef" * 4 * 1 + b"\r\n"
        body += (b"x" * 76 + b"\r\n") * (size // 78)
        self.left, self.latencies = messages, list[float]()
        self.commands = (
            b"MAIL FROM:<bench@sender.test>\r\n",
            b"RCPT TO:<" + recipient.encode() + b">\r\n",
            b"DATA\r\n",
            body + b".\r\n",
        )


async def run(server: Server, sessions: int, messages: int, size: int) -> list[float]:
    loop = asyncio.get_running_loop()
    work = Work(server.recipient, messages, size)
    finished = [loop.create_future() for _ in range(sessions)]
    for done in finished:
        await loop.create_connection(lambda done=done: Sender(work, done), "127.0.0.1", server.port)  # type: ignore[misc]
    await asyncio.gather(*finished)
    return sorted(work.latencies)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="the peers too")
    options = parser.parse_args()
    prepare()
    servers: list[Server] = [Pillarbox()]
    if options.all:
        servers += [Postfix("postfix", 10025), PostfixDovecot("postfix-dovecot", 10026, 10024, 10143)]
    dns, started = Dns(), []
    dns.start()
    try:
        for server in servers:
            started.append(server)
            server.start()
        print("| server | msg/s | p50 ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|")
        for _ in range(options.rounds):
            for server in servers:
                start = time.monotonic()
                seen = uvloop.run(run(server, options.sessions, options.messages, options.size))
                rate = len(seen) / (time.monotonic() - start)
                shown = [seen[min(int(len(seen) * q), len(seen) - 1)] * 1000 for q in (0.5, 0.9, 0.99, 1)]
                print(f"| {server.name} | {rate:.0f} | {' | '.join(f'{ms:.1f}' for ms in shown)} |", flush=True)
                server.empty()
    finally:
        for server in started:
            server.stop()
        dns.stop()


if __name__ == "__main__":
    main()
