"""Where a report goes: into the mailbox of the sender when that is here, else into the queue with the null sender."""

from __future__ import annotations

from pillarbox.smtp.address import MAX_PATH, AddressError, parse_path
from pillarbox.store import delivery
from pillarbox.store.records import Delivery, Queued
from pillarbox.store.tx import Tx

from . import notice
from .destination import Destinations, placed
from .route import Refusal, find


def post(tx: Tx, content: bytes, sender: str, message_key: str) -> bool:
    """Put a report into the sender's mailbox or into the queue; False when there is nowhere to put it.

    It has the null sender, so it is never reported on itself. `message_key`: whose story it belongs to, which is that
    of the message it reports on.
    """
    try:
        path = parse_path(sender, max_local=MAX_PATH)
    except AddressError:
        return False
    plans: list[Delivery | Queued] = []
    route = find(tx, path.local, path.domain_key)
    prefix = f"Return-Path: <>\r\nDelivered-To: {sender}\r\n".encode()
    plans += [Delivery(recipient=name, user_id=user_id, prefix=prefix) for user_id, name in route.users]
    rows = [_queued(to.address, message_key, content, via=to.via) for to in route.forward]
    if not plans and route.refusal is Refusal.NOT_OURS:
        rows.append(_queued(sender, message_key, content))
    destinations = Destinations(tx, "")
    placed_rows = (placed(row, destinations.of(row.recipient)) for row in rows)
    plans += [row for row in placed_rows if row is not None]
    if not plans:
        return False
    outcomes = delivery.deliver(tx, notice.new_message(content), plans)
    return any(outcome.error is None for outcome in outcomes)


def _queued(address: str, message_key: str, content: bytes, via: str = "") -> Queued:
    return Queued(
        sender="",
        recipient=address,
        message_key=message_key,
        via=via,
        body="7BIT" if content.isascii() else "8BITMIME",
        smtputf8=not content.partition(b"\r\n\r\n")[0].isascii(),
    )
