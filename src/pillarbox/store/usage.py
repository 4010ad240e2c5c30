"""How much an account sends, by the hour of the clock, and to whom it has sent before."""

from __future__ import annotations

from collections.abc import Collection

from pillarbox.store.addresses import address_key
from pillarbox.store.errors import Invalid
from pillarbox.store.records import Usage
from pillarbox.store.tx import Tx

HOUR = 3600
KEPT = 2 * 24 * HOUR  # seconds an hour's figures are kept: limits look back a day
KNOWN = 400 * 24 * HOUR  # seconds a recipient stays known after the last message

_ADD = (
    "INSERT INTO sending_usage (user_id, hour, messages, recipients, new_recipients) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (user_id, hour) DO UPDATE SET messages = sending_usage.messages + excluded.messages, "
    "recipients = sending_usage.recipients + excluded.recipients, "
    "new_recipients = sending_usage.new_recipients + excluded.new_recipients"
)
_DAY = (
    "SELECT hour, messages, recipients, new_recipients FROM sending_usage WHERE user_id = ? AND hour > ? ORDER BY hour"
)
_MEET = (
    "INSERT INTO known_recipients (user_id, address, first_at, last_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (user_id, address) DO NOTHING"
)
_MEET_AGAIN = "UPDATE known_recipients SET last_at = ? WHERE user_id = ? AND address = ? AND last_at < ?"


def add(tx: Tx, user_id: int, recipients: Collection[str], *, messages: int = 1) -> Usage:
    """Count a message to these recipients, and remember them; what the account has sent with it."""
    new = 0
    for address in sorted({_key(recipient) for recipient in recipients}):
        if tx.run(_MEET, (user_id, address, tx.now, tx.now)):
            new += 1
        else:
            tx.run(_MEET_AGAIN, (tx.now, user_id, address, tx.now - HOUR))
    tx.run(_ADD, (user_id, tx.now // HOUR, messages, len(recipients), new))
    return totals(tx, user_id)


def totals(tx: Tx, user_id: int) -> Usage:
    """What the account has sent. At most 24 rows by their index."""
    this = tx.now // HOUR
    rows = tx.rows(_DAY, (user_id, this - 24))
    hour = next(((messages, recipients, new) for at, messages, recipients, new in rows if at == this), (0, 0, 0))
    return Usage(*hour, *(sum(row[column] for row in rows) for column in (1, 2, 3)))


def hours(tx: Tx, user_id: int) -> list[tuple[int, int, int]]:
    """What it has sent in each of the last 24 hours of the clock: (hours since 1970, messages, recipients)."""
    rows = tx.rows(_DAY, (user_id, tx.now // HOUR - 24))
    return [(hour, messages, recipients) for hour, messages, recipients, _ in rows]


def unknown(tx: Tx, user_id: int, recipients: Collection[str]) -> int:
    """How many of these the account never sent to."""
    keys = {_key(recipient) for recipient in recipients}
    known = "SELECT 1 FROM known_recipients WHERE user_id = ? AND address = ?"
    return sum(tx.row(known, (user_id, key)) is None for key in keys)


def forget(tx: Tx, user_id: int) -> None:
    """The account's figures begin anew: it was released, and what a thief sent is not held against it."""
    tx.run("DELETE FROM sending_usage WHERE user_id = ?", (user_id,))


def trim(tx: Tx, limit: int = 500) -> int:
    """Forget what no limit looks at any more, at most `limit` rows; how many."""
    return tx.run(
        "DELETE FROM sending_usage WHERE id IN (SELECT id FROM sending_usage WHERE hour < ? LIMIT ?)",
        ((tx.now - KEPT) // HOUR, limit),
    )


def long_known(tx: Tx) -> list[int]:
    """Accounts for which `trim_known` has work. Reads all: for a thread."""
    return [
        row[0] for row in tx.rows("SELECT DISTINCT user_id FROM known_recipients WHERE last_at < ?", (tx.now - KNOWN,))
    ]


def trim_known(tx: Tx, user_id: int) -> int:
    """Forget whom the account has not written to for long; how many."""
    return tx.run("DELETE FROM known_recipients WHERE user_id = ? AND last_at < ?", (user_id, tx.now - KNOWN))


def _key(address: str) -> str:
    try:
        return address_key(address)
    except Invalid:
        return address
