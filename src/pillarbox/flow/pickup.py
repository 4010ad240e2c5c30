"""Messages that `sendmail` left in the spool folder while the server was down: taken in at start, and when one comes.

Nothing is lost and nothing doubled: a file goes after the commit that has its message, and the commit leaves a mark, so
that a crash between the two is recognised by the next one who finds the file. A recipient whom nobody here knows is
reported to the sender, as `sendmail` itself would have said it. What is no message is set aside and said in the log.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import NamedTuple, Protocol

import structlog

from pillarbox.access.ledger import Field, Slot
from pillarbox.smtp.address import NULL, AddressError, Path, parse_path
from pillarbox.smtp.received import local_received
from pillarbox.store import delivery, events, once
from pillarbox.store.errors import Full, Temporary
from pillarbox.store.records import Event, NewMessage, Queued
from pillarbox.store.tx import Tx

from . import deliver as flow
from . import outcomes, pickup_file, report, report_delivery
from .deliver import Envelope, Plans, Recipient, Result
from .maildrop import BadFile
from .message_id import MessageIds
from .pickup_file import Claim, NoMail
from .refusals import REFUSED
from .report_text import Told
from .route import Forward, Refusal, Route, Routes, make_mailbox
from .spool import Spool, SpoolError, SpoolHost
from .story import entry

log = structlog.get_logger()

LOOK = 1.0  # seconds between two looks at the folder
AT_ONCE = 8  # files
REST = 30.0  # seconds until a file that could not be taken in is tried again
SETTLED = 2_000_000_000  # nanoseconds after which a folder that is empty can have changed only with its mtime
LONG_REST = 3600.0  # the same for what is no message and cannot be moved away


class PickupHost(SpoolHost, Protocol):
    """What taking in needs of its worker. `session.node.Node` is one."""

    @property
    def slot(self) -> Slot: ...
    @property
    def ids(self) -> MessageIds: ...
    @property
    def routes(self) -> Routes: ...
    @property
    def clock(self) -> Callable[[], float]: ...


class Policy(NamedTuple):
    """What the settings say, asked for each file."""

    hostname: str
    max_size: int
    accept_all: bool
    may_submit: Callable[[int], bool]  # by uid


class Taken(NamedTuple):
    """What became of a message: `refused` with what the sender is told, else its recipients got it."""

    result: Result
    refused: list[Told]


class Pickup:
    """One worker's eye on the folder. Several may look at the same one."""

    def __init__(self, host: PickupHost, folder: str, policy: Callable[[], Policy]) -> None:
        self._host = host
        self._folder = os.path.abspath(folder)
        self._policy = policy
        self._task: asyncio.Task[None] | None = None
        self._put_off: dict[str, float] = {}  # name -> when to try again, by the monotonic clock
        self._seen = -1  # the folder's mtime at a look that found nothing
        self._lost = False

    def start(self) -> None:
        """Begin; a folder that cannot be made is said in the log, and there is no pickup."""
        try:
            pickup_file.prepare_folder(self._folder)
        except OSError as error:
            log.warning("sendmail has no spool folder: %s", error.strerror, folder=self._folder)
            return
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def leave(self) -> None:
        """Begin nothing more: the rest is for the next worker."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Leave, and finish what was begun."""
        self.leave()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                # What was begun is finished whatever comes: a message is taken in by one commit.
                await _finished(self.look())
                self._lost = False
            except OSError as error:
                self._find_again(error)
            except Exception:
                self._host.slot.add(Field.ERRORS)
                log.exception("Messages of sendmail were not taken in")
            await asyncio.sleep(LOOK)

    def _find_again(self, error: OSError) -> None:
        """Somebody took the folder away, or its rights: say it once, and make it anew when that can be done."""
        if not self._lost:
            self._lost = True
            log.warning("The spool folder of sendmail cannot be read: %s", error.strerror, folder=self._folder)
        self._seen = -1
        with suppress(OSError):
            pickup_file.prepare_folder(self._folder)

    async def look(self) -> int:
        """Take in what is there; how many messages that were."""
        changed = os.stat(self._folder).st_mtime_ns
        if changed == self._seen:
            return 0
        loop = asyncio.get_running_loop()
        names = await loop.run_in_executor(self._host.threads, pickup_file.waiting, self._folder, time.time())
        if not names:
            # The clock of a file system has coarse ticks: what came in this one would not be seen.
            self._seen = changed if time.time_ns() - changed > SETTLED else -1
            self._put_off.clear()
            return 0
        now = time.monotonic()
        gate = asyncio.Semaphore(AT_ONCE)
        due = [name for name in names if self._put_off.get(name, 0.0) <= now]
        marks = [mark for mark in await asyncio.gather(*(self._guarded(name, gate) for name in due)) if mark]
        if marks:
            await loop.run_in_executor(self._host.threads, pickup_file.sync, self._folder)
            await self._host.store.write(once.forget, marks)
        return len(marks)

    async def _guarded(self, name: str, gate: asyncio.Semaphore) -> str | None:
        async with gate:
            try:
                return await self._one(name)
            except (NoMail, BadFile, OSError) as wrong:
                await self._reject(name, wrong)
                self._put_off[name] = time.monotonic() + (REST if isinstance(wrong, OSError) else LONG_REST)
                return None
            except (Temporary, SpoolError) as error:
                if isinstance(error, Full):
                    self._host.disk.full()
                log.warning("A message of sendmail waits: %s", error, file=name)
            except Exception:
                self._host.slot.add(Field.ERRORS)
                log.exception("A message of sendmail was not taken in", file=name)
            self._put_off[name] = time.monotonic() + REST
            return None

    async def _reject(self, name: str, wrong: NoMail | BadFile | OSError) -> None:
        """Out of the way with what will never be a message."""
        loop, threads = asyncio.get_running_loop(), self._host.threads
        if isinstance(wrong, OSError):
            log.warning("A message of sendmail cannot be read: %s", wrong.strerror, file=name)
            return
        try:
            if isinstance(wrong, NoMail):
                await loop.run_in_executor(threads, pickup_file.remove, self._folder, name)
                log.warning("Removed from the spool folder of sendmail: %s", wrong, file=name)
            else:
                at = await loop.run_in_executor(threads, pickup_file.set_aside, self._folder, name)
                self._host.slot.add(Field.MESSAGES_REJECTED)
                log.error("A file in the spool folder of sendmail is no message: %s; it was set aside", wrong, file=at)
        except OSError as error:
            log.warning("%s is in the spool folder of sendmail and stays: %s", wrong, error.strerror, file=name)

    async def _one(self, name: str) -> str | None:
        """Take in a file; the mark of its commit, None when another has it."""
        loop, threads = asyncio.get_running_loop(), self._host.threads
        policy = self._policy()
        claimed = await loop.run_in_executor(threads, pickup_file.claim, self._folder, name, policy.max_size)
        if claimed is None:
            return None
        try:
            if not policy.may_submit(claimed.uid):
                raise BadFile(f"uid {claimed.uid} may not submit mail")
            mark = f"pickup {os.uname().nodename}:{self._folder}/{name}"
            await self._take_in(claimed, mark, policy)
            await loop.run_in_executor(threads, pickup_file.remove, self._folder, name)
            return mark
        finally:
            claimed.close()

    async def _take_in(self, claimed: Claim, mark: str, policy: Policy) -> None:
        host = self._host
        spool = Spool(host)
        stored = False
        try:
            await self._feed(claimed, spool)
            message = await spool.finish()
            key, arrived = host.ids(), host.clock()
            sender, recipients, refused = await self._resolve(claimed, policy)
            envelope = Envelope(
                message_id=key,
                sender=sender.address,
                recipients=tuple(recipients),
                trace=local_received(policy.hostname, claimed.uid, key, arrived),
                arrived=arrived,
                hostname=policy.hostname,
                envid=claimed.envelope.envid,
                ret=claimed.envelope.ret,
                body="8BITMIME",
                smtputf8=not all(r.address.isascii() for r in recipients) or not sender.is_ascii,
            )
            planned = flow.plan(envelope, message, spool.head)
            size = len(message.packed) if message.packed is not None else 0
            taken = await host.store.write(
                take_in, mark, envelope, planned, message, spool.head, refused, claimed.uid, size=size
            )
            stored = taken is not None  # else its chunks, when it has any, are freed
            if taken is not None:
                self._say(claimed, envelope, taken)
        finally:
            spool.close(stored=stored)

    async def _feed(self, claimed: Claim, spool: Spool) -> None:
        loop, pieces = asyncio.get_running_loop(), claimed.pieces()
        while (piece := await loop.run_in_executor(self._host.threads, next, pieces, None)) is not None:
            pause = spool.feed(piece)
            if pause is not None:
                await pause

    async def _resolve(self, claimed: Claim, policy: Policy) -> tuple[Path, list[Recipient], list[Told]]:
        """The sender, who gets it, and who cannot."""
        given = claimed.envelope
        try:
            sender = _path(given.sender, policy.hostname) if given.sender else NULL
        except AddressError as error:
            raise BadFile(f"its sender is no address: {error}") from error
        notify = frozenset(given.notify.split(",")) if given.notify else frozenset()
        recipients: list[Recipient] = []
        refused: list[Told] = []
        for address in given.recipients:
            try:
                path = _path(address, policy.hostname)
            except AddressError as error:
                refused.append(Told(address, "failed", "5.1.3", f"this is no address: {error}"))
                continue
            route = await self._route(path, given.size, policy)
            if route.refusal is None:
                recipients.append(Recipient(path.address, route, notify))
            else:
                refused.append(_refused(path, route.refusal))
        return sender, recipients, refused if "NEVER" not in notify else []

    async def _route(self, path: Path, size: int, policy: Policy) -> Route:
        route = await self._host.routes.later(path.local, path.domain_key, size)
        if route.refusal in (Refusal.UNKNOWN, Refusal.NOT_OURS) and policy.accept_all and path.domain:
            return await self._host.store.write(make_mailbox, path.local, path.domain_key)
        if route.refusal is Refusal.NOT_OURS:
            return Route(forward=(Forward(path.address),))
        return route

    def _say(self, claimed: Claim, envelope: Envelope, taken: Taken) -> None:
        slot, result = self._host.slot, taken.result
        slot.add(Field.MESSAGES_RECEIVED)
        slot.add(Field.BYTES_RECEIVED, claimed.envelope.size)
        slot.add(Field.MESSAGES_DELIVERED, result.delivered)
        slot.add(Field.MESSAGES_QUEUED, result.queued)
        log.info(
            f"Message received: FROM={envelope.sender}, recipients={len(claimed.envelope.recipients)}, "
            f"size={claimed.envelope.size} bytes",
            message_id=envelope.message_id,
            peer=f"uid {claimed.uid}",
            file=claimed.name,
        )
        for told in taken.refused:
            log.warning("Not delivered: TO=%s: %s", told.address, told.reason, message_id=envelope.message_id)


def take_in(
    tx: Tx,
    mark: str,
    envelope: Envelope,
    planned: Plans,
    message: NewMessage,
    head: bytes,
    refused: list[Told],
    uid: int,
) -> Taken | None:
    """Everything about one file in one transaction; None when that was committed before."""
    if not once.first_time(tx, mark):
        return None
    result = Result((), 0, 0, 0)
    if envelope.recipients:
        result = flow.deliver(tx, envelope, planned, message, head)
        if None not in result.errors:  # nothing was stored and nobody was told: that is left to us
            failed = zip(envelope.recipients, result.errors, strict=True)
            refused = refused + [Told(r.address, "failed", "5.2.0", error or "not stored") for r, error in failed]
    at, key, sender = envelope.arrived, envelope.message_id, envelope.sender
    facts = {
        "peer": f"uid {uid}",
        "via": "sendmail",
        "size": message.analysis.size,
        "header_id": message.analysis.message_id,
    }
    story = outcomes.told(at, key, sender, result, facts)
    for told in refused:
        because = {"enhanced": told.status, "text": told.reason}
        story.append(entry(at, key, "refused", sender=sender, recipient=told.address, queue_id=None, **because))
    if refused:
        story.append(_return(tx, envelope, message, head, refused))
    events.add_events(tx, story)
    return Taken(result, refused)


def _return(tx: Tx, envelope: Envelope, message: NewMessage, head: bytes, refused: list[Told]) -> Event:
    """Tell the sender; where there is none to be told, an operator finds the message in the queue, held."""
    at, key, sender = envelope.arrived, envelope.message_id, envelope.sender
    reported = report.Reported(
        message_id=key,
        sender=sender,
        envid=envelope.envid,
        full=envelope.ret == "FULL",
        arrived=at,
        head=head,
        whole=message.analysis.size == len(head),
    )
    if sender and report_delivery.post(tx, report.render(reported, refused, envelope.hostname), sender, key):
        return entry(at, key, "report", recipient=sender)
    rows = [
        Queued(sender=sender, recipient=told.address, prefix=envelope.trace, message_key=key, held=True)
        for told in refused
    ]
    delivery.deliver(tx, message, rows)
    return entry(at, key, "held", text="nobody can be told that it was refused")


def _path(address: str, hostname: str) -> Path:
    """An address as the envelope has it, with our name when it has no domain. Raises AddressError."""
    return parse_path(address if "@" in address or address.lower() == "postmaster" else f"{address}@{hostname}")


def _refused(path: Path, refusal: Refusal) -> Told:
    """There is nobody who would try again: what a client would be told to try later has failed."""
    _, enhanced, text = REFUSED[refusal]
    return Told(path.address, "failed", f"5{enhanced[1:]}", text)


async def _finished(work: Coroutine[None, None, int]) -> int:
    """The result, and when we are cancelled only after it has ended."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
