"""What is asked and what comes back, whichever engine looked it up."""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

from msgspec import Struct

Kind = Literal["A", "AAAA", "MX", "TXT", "PTR", "TLSA", "CNAME", "SRV"]
Status = Literal["ok", "nxdomain", "nodata", "temperror", "bogus"]

KINDS: frozenset[str] = frozenset(get_args(Kind))


class Answer(Struct, frozen=True):
    """The answer to one question.

    `status`: `ok` there are records · `nxdomain` there is no such name · `nodata` the name has no records of that kind
    · `temperror` nobody could tell, ask again later · `bogus` the answer failed validation, to be treated like
    `temperror` and never used.

    `records` by kind: A, AAAA, PTR and CNAME `str`; MX `(preference, host)`; TXT `bytes` (the strings of one record
    joined); TLSA `(usage, selector, matching type, data: bytes)`; SRV `(priority, weight, port, host)`. Addresses are
    in their canonical spelling. Names are lower case without the last dot, the root is "."; octets that are none of a
    host name's are spelled `\\DDD` (RFC 1035 section 5.1), so check a name before you use it. Empty unless `ok`.

    `ttl` is in seconds, from now. `secure`: validated from a trust anchor down, aliases included; a `nxdomain` and a
    `nodata` can be secure too (the denial was proved). `canonical` is the name at the end of the aliases (CNAME), the
    asked one when there are none. `reason` says to people why there are no records: printable ASCII,
    at most 300 characters.
    """

    status: Status
    records: tuple[Any, ...] = ()
    ttl: int = 0
    secure: bool = False
    canonical: str = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def failed(self) -> bool:
        """Nobody could tell: neither records nor their absence are known."""
        return self.status in ("temperror", "bogus")


class Resolver(Protocol):
    """What the rest of the house asks. Tests give one of their own."""

    async def query(self, name: str, kind: Kind) -> Answer:
        """Ask for the records of a name, an A-label form without or with the last dot.

        Never raises (but CancelledError, when the asking task is cancelled) and ends by its deadline. What is no name
        gets `nxdomain`.
        """

    async def close(self) -> None:
        """End what is open; questions under way get `temperror`. It may be closed twice, and opens again if asked."""


class Engine(Protocol):
    """Who looks things up over the network, for `CachingResolver`: no cache of its own needed, no deadline, no limit.

    `name` is for logs. `validates` says whether an answer can be `secure`.
    """

    @property
    def name(self) -> str: ...

    @property
    def validates(self) -> bool: ...

    async def ask(self, name: str, kind: Kind) -> Answer:
        """`name` was checked (`names.normal`). Cancelling it gives up the question."""

    async def close(self) -> None:
        """Questions under way are cancelled by whoever asked, before this."""
