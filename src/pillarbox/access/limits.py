"""Limits that hold for the whole server: connections, connections an address, messages in a window of time.

Every worker counts in its own slot of the ledger and decides by the sum over all of them. Who comes counts itself up
first and then looks at the sum, and steps back when it is over the limit; so a limit is never exceeded, though two
workers that race for the last seat may both refuse.

An IPv6 client is its /64, since it owns all of that. Connections over a unix socket have the address "" and are exempt
from what is counted by address, and so is loopback when the limiter is told to trust it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Lock

from .ledger import Field, Ledger, Slot
from .ledger_table import BEFORE, COUNT, KEY, WINDOW, find, room_for_rate
from .tally import Tally

HOUR = 3600  # seconds
_ADDRESS = b"address"


class Role(Enum):
    """What a connection is counted as, beside all connections: the counter and the gauge."""

    SMTP = (Field.SMTP_CONNECTIONS_TOTAL, Field.SMTP_CONNECTIONS_ACTIVE)
    LMTP = (Field.LMTP_CONNECTIONS_TOTAL, Field.LMTP_CONNECTIONS_ACTIVE)
    IMAP = (Field.IMAP_CONNECTIONS_TOTAL, Field.IMAP_CONNECTIONS_ACTIVE)
    SUBMISSION = (Field.SUBMISSION_CONNECTIONS_TOTAL, Field.SUBMISSION_CONNECTIONS_ACTIVE)
    POP3 = (Field.POP3_CONNECTIONS_TOTAL, Field.POP3_CONNECTIONS_ACTIVE)


class Admission(Enum):
    """The answer to a new connection. True in a condition only when it may stay."""

    ADMITTED = "admitted"
    SERVER_FULL = "too many connections to this server"
    ADDRESS_FULL = "too many connections from this address"

    def __bool__(self) -> bool:
        return self is Admission.ADMITTED


@dataclass(frozen=True, slots=True)
class Caps:
    """Most connections, of all protocols together: to the whole server, and from one address. 0 means no limit."""

    server: int = 0
    address: int = 0


def subject_of(address: str) -> bytes:
    """What an IP address in text is counted as: 4 octets, or the first 8 of IPv6 (its /64).

    Anything that is no IP address stands for itself.
    """
    try:
        if ":" not in address:
            return socket.inet_pton(socket.AF_INET, address)
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return address.encode("utf-8", "surrogateescape")
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):  # IPv4-mapped, RFC 4291 section 2.5.5.2
        return packed[12:]
    return packed[:8] if packed != b"\0" * 15 + b"\1" else packed


def is_loopback(address: str) -> bool:
    subject = subject_of(address)
    return (len(subject) == 4 and subject[0] == 127) or subject == b"\0" * 15 + b"\1"


class Limiter:
    """The limits as one worker applies them. `clock` gives epoch seconds, `window` is seconds.

    `caps`, `window` and `trust_loopback` may be changed at any time (a reload does); they hold for what comes next.
    """

    def __init__(
        self,
        slot: Slot,
        caps: Caps | None = None,
        *,
        window: int = HOUR,
        trust_loopback: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.caps = caps or Caps()
        self.window = window
        self.trust_loopback = trust_loopback
        self._slot = slot
        self._ledger: Ledger = slot.ledger
        self._clock = clock
        self._connections = Tally(slot, _ADDRESS)
        self._rates = [self._ledger.rate_table(n) for n in range(self._ledger.slots)]
        self._fence = Lock()
        self._entered: dict[bytes, int] = {}  # those of our connections that the table has, by address

    def enter(self, address: str, role: Role = Role.SMTP) -> Admission:
        """Take a seat for a new connection from `address`; every admitted one is to `leave`.

        A refused connection counts as CONNECTIONS_REFUSED and has nothing to give back.
        """
        total, active = role.value
        self._slot.add(Field.CONNECTIONS_TOTAL)
        self._slot.add(total)
        admission = self.hold(address)
        self._slot.add(active if admission else Field.CONNECTIONS_REFUSED)
        return admission

    def hold(self, address: str) -> Admission:
        """Take a seat for a connection whose session has not begun (TLS comes first); it is to be `release`d."""
        slot = self._slot
        slot.add(Field.CONNECTIONS_ACTIVE)
        if self.caps.server:
            with self._fence:  # a full barrier: our count is out before the others' are read
                pass
            if self._ledger.total(Field.CONNECTIONS_ACTIVE) > self.caps.server:
                return self._refuse(Admission.SERVER_FULL)
        if not self.exempt(address) and not self._enter_address(address, self.caps.address):
            return self._refuse(Admission.ADDRESS_FULL)
        return Admission.ADMITTED

    def _refuse(self, reason: Admission) -> Admission:
        self._slot.add(Field.CONNECTIONS_ACTIVE, -1)
        return reason

    def leave(self, address: str, role: Role = Role.SMTP) -> None:
        """Give the seat of an admitted connection back. Call it once, with what `enter` was given."""
        self._slot.add(role.value[1], -1)
        self.release(address)

    def release(self, address: str) -> None:
        """Give a seat back that `hold` gave."""
        self._slot.add(Field.CONNECTIONS_ACTIVE, -1)
        subject = subject_of(address)
        if not self._entered.get(subject):
            return  # exempt when it came, or the table had no room for it
        self._entered[subject] -= 1
        if not self._entered[subject]:
            del self._entered[subject]
        self._connections.remove(self._connections.key(subject))

    def connections(self, address: str) -> int:
        """Open connections from an address, on all workers."""
        return self._connections.total(self._connections.key(subject_of(address)))

    def rate(self, address: str, limit: int, kind: bytes = b"message", cost: int = 1) -> bool:
        """Count an event of an address; False, and not counted, when it is more than `limit` in a window.

        The window slides: it is the running one's count plus the share of the last one's that is still inside.
        """
        if limit <= 0 or self.exempt(address):
            return True
        return self.rate_of(kind, subject_of(address), limit, cost)

    def rate_of(self, kind: bytes, subject: bytes, limit: int, cost: int = 1) -> bool:
        """The same for any subject, such as an account's name; nobody is exempt."""
        now, length = self._clock(), self.window
        window = int(now) // length
        key = self._ledger.key(kind, subject)
        table = self._rates[self._slot.number]
        at = find(table, key)
        if at < 0:
            at = room_for_rate(table, key, window)
            table[at + COUNT] = table[at + BEFORE] = 0
            table[at + WINDOW] = window
            table[at + KEY] = key
        elif table[at + WINDOW] != window:
            table[at + BEFORE] = table[at + COUNT] if table[at + WINDOW] == window - 1 else 0
            table[at + COUNT] = 0
            table[at + WINDOW] = window
        table[at + COUNT] += cost
        share = 1.0 - (now - window * length) / length
        if self._sum_rates(key, window, share) > limit:
            table[at + COUNT] -= cost
            self._slot.add(Field.RATE_LIMIT_HITS)
            return False
        return True

    def exempt(self, address: str) -> bool:
        """Whether limits by address leave this one alone."""
        return not address or (self.trust_loopback and is_loopback(address))

    def _enter_address(self, address: str, cap: int) -> bool:
        subject = subject_of(address)
        key = self._connections.key(subject)
        if not self._connections.add(key):
            return True  # not counted by address; the limit of the server still holds
        if cap and self._connections.total(key) > cap:
            self._connections.remove(key)
            return False
        self._entered[subject] = self._entered.get(subject, 0) + 1
        return True

    def _sum_rates(self, key: int, window: int, share: float) -> float:
        total = 0.0
        for number in self._ledger.counting(self._slot.number):
            table = self._rates[number]
            at = find(table, key)
            if at < 0:
                continue
            if table[at + WINDOW] == window:
                total += table[at + COUNT] + table[at + BEFORE] * share
            elif table[at + WINDOW] == window - 1:
                total += table[at + COUNT] * share
        return total
