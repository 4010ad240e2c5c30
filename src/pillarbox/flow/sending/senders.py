"""The sender that the next hop sees of a message that an address of ours forwarded.

Where the sender's domain says who may send for it and means it (SPF that ends in -all or ~all, DMARC that rejects or
quarantines), the message would be refused from us with that sender: it is rewritten (see `flow.srs`). Reports about it
still go to who it came from.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pillarbox.dns.answer import Resolver
from pillarbox.smtp.address import MAX_PATH, AddressError, parse_path
from pillarbox.store import Store, StoreError
from pillarbox.store.resolution import is_local_domain

from .. import srs

log = structlog.get_logger()

_PARENTS = 4  # of a domain, that are asked for DMARC


class ForwardedSenders:
    """Rewrites senders; satisfies `parts.Senders`. `clock` in epoch seconds."""

    def __init__(self, store: Store, resolver: Resolver, clock: Callable[[], float]) -> None:
        self._store = store
        self._resolver = resolver
        self._clock = clock
        self._rewriter: srs.Rewriter | None = None

    async def __call__(self, sender: str, via: str) -> str:
        """`via`: the address of ours that forwarded it; the rewritten one is in its domain."""
        ours = via.rpartition("@")[2]
        try:
            path = parse_path(sender, max_local=MAX_PATH)
        except AddressError:
            return sender
        if not ours or path.is_literal:
            return sender
        try:
            if await self._store.read(is_local_domain, path.domain_key):
                return sender
            if not await strict(self._resolver, path.domain_key):
                return sender
            if self._rewriter is None:
                self._rewriter = await srs.open_rewriter(self._store)
        except StoreError as error:
            log.warning("A sender is not rewritten: %s", error, sender=sender)
            return sender
        return self._rewriter.rewrite(sender, ours, self._clock())


async def strict(resolver: Resolver, domain: str) -> bool:
    """Whether a domain would have mail refused that somebody else sends in its name.

    Also when nobody can tell now: rewriting does no harm.
    """
    answer = await resolver.query(domain, "TXT")
    if answer.status in ("temperror", "bogus"):
        return True
    for record in answer.records if answer.status == "ok" else ():
        text = _text(record)
        if text == "v=spf1" or text.startswith("v=spf1 "):
            words = text.split()[1:]
            if "-all" in words or "~all" in words or any(word.startswith("redirect=") for word in words):
                return True
    return await _dmarc(resolver, domain)


async def _dmarc(resolver: Resolver, domain: str) -> bool:
    """The policy of the domain or of the next parent that has one (RFC 7489 section 6.6.3)."""
    labels = domain.split(".")
    for at in range(max(1, min(len(labels) - 1, _PARENTS))):
        answer = await resolver.query("_dmarc." + ".".join(labels[at:]), "TXT")
        if answer.status in ("temperror", "bogus"):
            return True
        for record in answer.records if answer.status == "ok" else ():
            tags = dict(_tag(tag) for tag in _text(record).split(";"))
            if tags.get("v") != "dmarc1":
                continue
            policy = tags.get("p", "none") if at == 0 else tags.get("sp", tags.get("p", "none"))
            return policy in ("reject", "quarantine")
    return False


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _text(record: object) -> str:
    return record.decode("latin-1").lower() if isinstance(record, bytes) else ""
