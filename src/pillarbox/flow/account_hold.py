"""Holding an account that sends as if its password was stolen: its owner and the postmaster are told, once."""

from __future__ import annotations

from pillarbox.store import delivery, queue, senders
from pillarbox.store.records import Delivery, Queued, QueueFilter, User
from pillarbox.store.resolution import resolve
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

from . import notice, queue_orders

GUARD = "the limit of new recipients"  # who held it, in the story of a message


def hold(tx: Tx, user: User, reason: str, *, hostname: str, message_id: str) -> None:
    """Hold the account and the first page of what it has in the queue, and tell; `hold_rest` does the other pages.

    Nothing when it is held already.
    """
    if not senders.hold(tx, user.id, reason):
        return
    applied = queue_orders.apply(tx, "hold", QueueFilter(user_id=user.id), GUARD)
    waiting = applied.changed + len(applied.asked)
    _tell(tx, [(user.id, user.email)], [], _to_owner(user, reason, hostname, message_id, tx.now))
    postmasters = resolve(tx, "postmaster", "")
    boxes = [(user_id, f"postmaster@{hostname}") for user_id, _ in postmasters.users]
    _tell(tx, boxes, postmasters.forward, _to_postmaster(user, reason, waiting, hostname, message_id, tx.now))


async def hold_rest(store: Store, user_id: int) -> None:
    """After the transaction of `hold`. Raises StoreError."""
    await queue_orders.carry_out(store, "hold", QueueFilter(user_id=user_id), GUARD, patience=0)


def _tell(tx: Tx, boxes: list[tuple[int, str]], forward: list[str], content: bytes) -> None:
    plans: list[Delivery | Queued] = [
        Delivery(address, user_id, prefix=f"Return-Path: <>\r\nDelivered-To: {address}\r\n".encode())
        for user_id, address in boxes
    ]
    plans += [Queued(sender="", recipient=address) for address in forward]
    if plans:
        delivery.deliver(tx, notice.new_message(content), plans)  # a full mailbox is told nothing


def _to_owner(user: User, reason: str, hostname: str, message_id: str, now: int) -> bytes:
    return notice.render(
        user.email,
        "Your account cannot send mail for now",
        f"{message_id}.owner",
        hostname,
        now,
        f"This is the mail server {hostname}.",
        "",
        f"Your account {user.username} cannot send mail for now, because it has sent to",
        f"{reason}.",
        "",
        "If that was not you, somebody else knows your password: change it, everywhere",
        "you use it. What was not sent yet waits, and nothing of it is lost.",
        "",
        "Write to or call the postmaster of this server, who can let your account send",
        "again. You still receive mail.",
    )


def _to_postmaster(user: User, reason: str, waiting: int, hostname: str, message_id: str, now: int) -> bytes:
    name = user.username
    return notice.render(
        f"postmaster@{hostname}",
        f"The account {name} was held",
        f"{message_id}.postmaster",
        hostname,
        now,
        f"The account {name} <{user.email}> has sent to",
        f"{reason}.",
        "Its password was probably stolen. It cannot send any more, and",
        f"{'more than ' if waiting >= queue.PAGE else ''}{waiting} entries that it had in the queue are held.",
        f"The message that led to this has the id {message_id}.",
        "",
        "To see them:               pillarbox queue list --status held",
        f"To set another password:   pillarbox user password {name}",
        f"To delete what is held:    pillarbox user purge {name}",
        f"To let it send again:      pillarbox user release {name}",
    )
