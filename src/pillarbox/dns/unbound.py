"""The engine that validates: libunbound in this process, asking the servers it is given.

One context, one thread of the library's own. Results come through a descriptor that the loop watches: no callback is
ever made in another thread than the loop's. The context keeps a small cache of its own (keys, what servers can do).
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

from pillarbox.dns.answer import Answer, Kind
from pillarbox.dns.names import spelled
from pillarbox.dns.rdata import NUMBERS, read
from pillarbox.dns.servers import Server
from pillarbox.dns.unbound_library import CLASS_IN, NOERROR, NXDOMAIN, Callback, load

SOA = 6
MOST_RECORDS = 256  # of one answer: the rest of a larger one is not looked at

# An answer that is late for us is late for libunbound too; a server that was down is tried again after a minute, not
# after its 15. Zones of special use are asked for like others where the operator's own servers may know them.
_OPTIONS = (
    ("infra-host-ttl:", "60"),
    ("outgoing-range:", "256"),
    ("num-queries-per-thread:", "512"),
    ("unblock-lan-zones:", "yes"),
    ("insecure-lan-zones:", "yes"),
    ("do-not-query-localhost:", "no"),
)
_ASKED_ALL_THE_SAME = ("test.", "home.arpa.")  # RFC 6761 section 6.2, RFC 8375


class UnboundError(Exception):
    """libunbound could not be made ready; the text is for the log."""


class UnboundEngine:
    """Made on a running loop, in the process that asks. Raises OSError (no such library) and UnboundError.

    `anchors` are keys in the form of a zone file, `anchor_file` a file of such; without both nothing is validated.
    `insecure` are zones that are taken unvalidated though their parent says that they are signed or not there: private
    ones behind servers of the operator's own.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        anchors: Sequence[str] = (),
        anchor_file: str = "",
        insecure: Sequence[str] = (),
    ) -> None:
        self._library = load()
        self.validates = bool(anchors or anchor_file)
        version = self._library.ub_version().decode("ascii", "replace")
        self.name = f"libunbound {version}"
        self._context: int | None = self._library.ub_ctx_create()
        if not self._context:
            raise UnboundError("libunbound has no memory or no entropy")
        self._asked: dict[int, tuple[asyncio.Future[Answer], Kind, str]] = {}
        self._tokens = itertools.count(1)
        self._callback = Callback(self._arrived)  # must live as long as the context
        try:
            self._set_up(servers, anchors, anchor_file, insecure)
            self._loop = asyncio.get_running_loop()
            self._descriptor = self._library.ub_fd(self._context)
            self._loop.add_reader(self._descriptor, self._library.ub_process, self._context)
        except BaseException:
            context, self._context = self._context, None
            self._library.ub_ctx_delete(context)
            raise

    def _set_up(
        self,
        servers: Sequence[Server],
        anchors: Sequence[str],
        anchor_file: str,
        insecure: Sequence[str],
    ) -> None:
        library, context = self._library, self._context

        def must(code: int, what: str) -> None:
            if code:
                raise UnboundError(f"{what}: {self._says(code)}")

        must(library.ub_ctx_debugout(context, None), "log")
        must(library.ub_ctx_set_option(context, b"module-config:", b"validator iterator"), "validation")
        for option, value in _OPTIONS:  # a version that does not know one of them does its work without
            library.ub_ctx_set_option(context, option.encode(), value.encode())
        for zone in insecure:
            must(library.ub_ctx_set_option(context, b"domain-insecure:", zone.encode()), zone)
        for server in servers:
            must(library.ub_ctx_set_fwd(context, str(server).encode()), str(server))
        for anchor in anchors:
            must(library.ub_ctx_add_ta(context, anchor.encode()), anchor)
        if anchor_file:
            must(library.ub_ctx_add_ta_file(context, anchor_file.encode()), anchor_file)
        must(library.ub_ctx_async(context, 1), "thread")
        for zone in _ASKED_ALL_THE_SAME:  # the first of these makes it read the anchors: no more settings after it
            must(library.ub_ctx_zone_remove(context, zone.encode()), f"settings or trust anchor {anchor_file}".rstrip())

    async def ask(self, name: str, kind: Kind) -> Answer:
        return await self._ask(name, NUMBERS[kind], kind)

    async def root_status(self) -> str:
        """What becomes of a question for the root zone itself: `bogus` when nothing at all can be validated, be it that
        the servers take the signatures off or that our keys are too old."""
        return (await self._ask(".", SOA, "SOA")).status

    async def _ask(self, name: str, number: int, kind: Any) -> Answer:
        if self._context is None:
            return Answer("temperror", reason="the resolver is closed")
        token, query = next(self._tokens), ctypes.c_int(0)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._asked[token] = future, kind, name
        given_up = False
        try:
            code = self._library.ub_resolve_async(
                self._context, name.encode("ascii"), number, CLASS_IN, token, self._callback, ctypes.byref(query)
            )
            if code:
                return Answer("temperror", reason=self._says(code), canonical=name)
            given_up = True
            answer = await future
            given_up = False
            return answer
        finally:
            del self._asked[token]
            if given_up and self._context is not None:
                self._library.ub_cancel(self._context, query.value)

    def _arrived(self, token: int, code: int, result: Any) -> None:
        """Called by `ub_process`, on the loop. Nothing may be raised into C."""
        future, kind, name = self._asked.get(token, (None, "", ""))
        answer = Answer("temperror", reason="an answer that cannot be read")
        try:
            if code or not result:
                answer = Answer("temperror", reason=self._says(code), canonical=name)
            elif future is not None:
                answer = _answer(result.contents, kind, name)
        except ValueError:
            pass
        finally:
            if result:
                self._library.ub_resolve_free(result)
            if future is not None and not future.done():
                future.set_result(answer)

    def _says(self, code: int) -> str:
        text: bytes = self._library.ub_strerror(code)
        return f"libunbound: {text.decode('ascii', 'replace')}"

    async def close(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        self._loop.remove_reader(self._descriptor)
        for future, _, name in self._asked.values():
            if not future.done():
                future.set_result(Answer("temperror", reason="the resolver is closed", canonical=name))
        # It waits for the library's thread, which may be at work.
        await self._loop.run_in_executor(None, self._library.ub_ctx_delete, context)


def _answer(result: Any, kind: Any, name: str) -> Answer:
    """A result of libunbound as ours; copies all it needs. Raises ValueError for what cannot be read."""
    canonical = spelled(result.canonname) if result.canonname else name
    secure, ttl = bool(result.secure), max(0, result.ttl)
    if result.bogus:
        why = "".join(char for char in (result.why_bogus or b"").decode("latin-1") if " " <= char <= "~")
        return Answer("bogus", canonical=canonical, reason=f"DNSSEC validation failed: {why}"[:300])
    if result.rcode == NXDOMAIN or result.nxdomain:
        return Answer("nxdomain", (), ttl, secure, canonical, "no such domain")
    if result.rcode != NOERROR:
        return Answer("temperror", canonical=canonical, reason=f"the servers could not tell (RCODE {result.rcode})")
    if not result.havedata:
        return Answer("nodata", (), ttl, secure, canonical, f"no {kind} records")
    if kind not in NUMBERS:
        return Answer("ok", (), ttl, secure, canonical)
    records, broken = [], 0
    for item in range(MOST_RECORDS):
        if not result.data[item]:
            break
        try:
            records.append(read(kind, ctypes.string_at(result.data[item], result.len[item])))
        except ValueError:
            broken += 1
    if not records and broken:
        raise ValueError("no record can be read")
    return Answer("ok", tuple(records), ttl, secure, canonical)
