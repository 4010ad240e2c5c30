"""Questions to the DNS: one interface, two engines behind it, a cache in front.

libunbound, when the system has it, whose answers are validated (DNSSEC); else c-ares, whose answers are taken as they
come. Must not know: mail, sessions, settings, SQL. What an answer means for a message is the business of `flow`.

    resolver = open_resolver()                                   # opens nothing yet: that is the first question's work
    answer = await resolver.query("example.org", "MX")           # never raises, never later than its deadline
    if answer.status == "ok":
        for preference, host in answer.records: …
    await resolver.close()

A resolver belongs to one event loop of one process and must not be carried over a fork once it was asked.
"""

from __future__ import annotations

from pillarbox.dns.answer import Answer, Kind, Resolver, Status
from pillarbox.dns.caching import CachingResolver
from pillarbox.dns.names import reverse_name
from pillarbox.dns.opening import open_resolver

__all__ = ["Answer", "CachingResolver", "Kind", "Resolver", "Status", "open_resolver", "reverse_name"]
