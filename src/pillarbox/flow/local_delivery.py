"""The way from the queue into the mailboxes here: what was to be delivered later (FUTURERELEASE, RFC 4865).

Whoever is behind the address when the time has come gets it: accounts, lists, addresses elsewhere. A recipient is
marked in the transaction that stores the message, so that a crash before the row is settled does not deliver twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from pillarbox.mime.analysis import Analysis
from pillarbox.smtp.address import AddressError, Path, parse_path
from pillarbox.store import blobs, once
from pillarbox.store.errors import StoreError
from pillarbox.store.records import NewMessage
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

from . import deliver as flow
from .parcel import Carrier, Hop, Lane, Outcome, Parcel, ParcelRecipient, Reply
from .planning import Envelope, Recipient, is_expanded, plan
from .refusals import FAILURES, REFUSED
from .route import Refusal, Route, find

HEAD = 64 * 1024  # octets of a message in which loops are looked for
_STORED = Reply("END", 250, "2.0.0", "delivered to the mailbox")
_EXPANDED = Reply("END", 250, "2.0.0", "passed on to several addresses")
_OUTCOMES = {
    Refusal.FULL.value: Reply("END", 452, "4.2.2", FAILURES[Refusal.FULL.value].reason),  # there may be room later
    Refusal.TOO_BIG.value: Reply("END", 552, *FAILURES[Refusal.TOO_BIG.value]),
}
_NO_LONGER_OURS = Reply("RCPT", 550, "5.1.2", "this is no domain of ours any more")


class LocalCarrier:
    """Opens lanes to the mailboxes here, and has another carrier open the others."""

    def __init__(self, others: Carrier, store: Store, hostname: Callable[[], str]) -> None:
        self._others = others
        self._store = store
        self._hostname = hostname

    async def open(self, hop: Hop) -> Lane:
        if hop.kind != "local":
            return await self._others.open(hop)
        return LocalLane(self._store, self._hostname())


class LocalLane:
    """See `parcel.Lane`."""

    def __init__(self, store: Store, hostname: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._hostname = hostname
        self._clock = clock
        self._marks: list[str] = []

    @property
    def usable(self) -> bool:
        return True

    @property
    def begun(self) -> bool:
        return True

    async def send(self, parcel: Parcel) -> list[Outcome]:
        outcomes = []
        for recipient in parcel.recipients:
            try:
                outcome = await self._store.write(take, parcel, recipient, self._hostname, self._clock())
            except StoreError as error:
                reply = Reply("END", 451, "4.3.0", f"the store cannot take it now: {error}")
                outcome = _outcome(recipient, reply)
            else:
                self._marks.append(_mark(parcel, recipient))
            outcomes.append(outcome)
        return outcomes

    async def close(self) -> None:
        """It has had nothing to do for a while, so what it did is settled and needs no mark."""
        if self._marks:
            with suppress(StoreError):
                await self._store.write(once.forget, self._marks)


def take(tx: Tx, parcel: Parcel, recipient: ParcelRecipient, hostname: str, now: float) -> Outcome:
    """Deliver to one recipient; what came of it."""
    path = _path(recipient.address)
    if path is None:
        return _outcome(recipient, _refused(Refusal.UNKNOWN))
    size = parcel.size - len(parcel.prefix)
    route = find(tx, path.local, path.domain_key, parcel.size)
    if route.refusal is not None:
        return _outcome(recipient, _refused(route.refusal))
    if not once.first_time(tx, _mark(parcel, recipient)):
        return _outcome(recipient, _STORED, route)
    head = blobs.read_slice(tx, parcel.blob_id, 0, min(size, HEAD))
    message = NewMessage(packed=None, blob_id=parcel.blob_id, analysis=_analysed(size))
    envelope = _envelope(parcel, recipient, route, hostname, now)
    result = flow.deliver(tx, envelope, plan(envelope, message, head), message, head)
    (word,) = result.errors
    if word is None:
        return _outcome(recipient, _STORED, route)
    once.forget(tx, [_mark(parcel, recipient)])
    return _outcome(recipient, _OUTCOMES.get(word) or Reply("END", 554, "5.2.0", word))


def _refused(refusal: Refusal) -> Reply:
    return _NO_LONGER_OURS if refusal is Refusal.NOT_OURS else Reply("RCPT", *REFUSED[refusal])


def _mark(parcel: Parcel, recipient: ParcelRecipient) -> str:
    return f"queue/{parcel.message_key}/{recipient.queue_id}"


def _outcome(recipient: ParcelRecipient, reply: Reply, route: Route | None = None) -> Outcome:
    """Of one address elsewhere who delivers there reports; of several we do, and once (RFC 3461 section 5.2.7)."""
    if reply.code < 300:
        expanded = route is not None and is_expanded(route)
        elsewhere = route is not None and bool(route.forward) and not expanded
        done = _EXPANDED if expanded else reply
        return Outcome(recipient.queue_id, "delivered", done, dsn=elsewhere, expanded=expanded)
    return Outcome(recipient.queue_id, "deferred" if reply.code < 500 else "failed", reply)


def _path(address: str) -> Path | None:
    if "@" not in address:
        return Path(address, "", address)  # the bare postmaster
    try:
        return parse_path(address)
    except AddressError:
        return None


def _envelope(parcel: Parcel, recipient: ParcelRecipient, route: Route, hostname: str, now: float) -> Envelope:
    """As it was received, for one recipient. Reports are the queue's, but for what goes on elsewhere."""
    notify = frozenset(recipient.notify.split(",")) if recipient.notify and route.forward else frozenset[str]()
    if is_expanded(route) and "SUCCESS" in notify:
        notify = notify - {"SUCCESS"} or frozenset({"NEVER"})
    return Envelope(
        message_id=parcel.message_key,
        sender=parcel.sender,
        recipients=(Recipient(recipient.address, route, notify, recipient.orcpt),),
        trace=parcel.prefix,
        arrived=now,
        hostname=hostname,
        envid=parcel.envid,
        reports=False,
        ret=parcel.ret,
        body=parcel.body,
        smtputf8=parcel.smtputf8,
        priority=parcel.priority,
        deliver_by=parcel.deliver_by,
        deliver_mode=parcel.deliver_mode,
    )


def _analysed(size: int) -> Analysis:
    """What is asked of a blob that was analysed when it came: its size. The prefix ends as its header needs it."""
    return Analysis(size, b"", b"", b"", b"", 1, "", (), (), "", "", None, "")
