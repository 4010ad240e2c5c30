"""What every session of a worker needs, in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from pillarbox.access.authenticate import Authenticator
from pillarbox.access.bans import BanPolicy, Bans
from pillarbox.access.ledger import SUPERVISOR, Field, Slot
from pillarbox.access.limits import Limiter
from pillarbox.access.passwords import HashGate
from pillarbox.access.senders import Standings
from pillarbox.config import Settings
from pillarbox.cores import Pool
from pillarbox.dns import CachingResolver, Resolver, open_resolver
from pillarbox.dns.opening import Choice
from pillarbox.flow.memory import DiskGauge, MemoryBudget
from pillarbox.flow.message_id import MessageIds
from pillarbox.flow.owner import this_process
from pillarbox.flow.route import Routes
from pillarbox.flow.sending.handover import Handover
from pillarbox.flow.story import Story
from pillarbox.store.store import Store

from .account_views import AccountViews
from .deadlines import Deadlines
from .imap_views import Views
from .outgoing_self import Listener
from .tls import TlsHolder
from .watch import LoginWatch, MailboxWatch

THREADS = 2  # for analysis and compression of what is too large for the loop


class Session(Protocol):
    """A connection, as the worker sees it."""

    def leave(self, *, now: bool) -> None:
        """Say goodbye as the protocol does and close: at once when nothing is under way, else as soon as that has
        ended. `now` also asks those that merely wait for their client; without it the session picks its moment."""

    def part(self) -> None:
        """Say goodbye and close, whatever is under way, if that can be said where the client is."""

    def abort(self) -> None:
        """Close without a word."""


@dataclass(slots=True, eq=False)
class Node:
    """One worker's parts. Made by the worker, shared by all its sessions; satisfies `flow.spool.SpoolHost`.

    `settings` and `tls.context` are replaced by a reload; a session reads them when its connection begins. `sessions`
    holds every open connection, so that the worker can drain them; `draining` refuses new ones.
    """

    settings: Settings
    store: Store
    slot: Slot  # counters: node.slot.add(Field.MESSAGES_RECEIVED)
    limiter: Limiter
    authenticator: Authenticator
    bans: Bans  # who may not log in for a while
    tls: TlsHolder
    memory: MemoryBudget
    disk: DiskGauge
    threads: Pool
    owner: str  # who unfinished blobs belong to, see `flow.owner`
    ids: MessageIds
    routes: Routes
    standings: Standings
    story: Story  # what `pillarbox trace` tells; closed before the store
    deadlines: Deadlines
    watch: MailboxWatch
    accounts: AccountViews  # all mailboxes of those whom somebody follows
    views: Views  # of mailboxes that nobody has selected just now
    logins: LoginWatch
    resolver: Resolver
    clock: Callable[[], float] = time.time  # epoch seconds
    listeners: frozenset[Listener] = frozenset()  # where this server itself is reached by SMTP and LMTP
    handover: Handover | None = None  # to who sends in this worker
    sessions: set[Session] = field(default_factory=set)
    draining: bool = False

    @property
    def maintenance(self) -> bool:
        """The supervisor says: new SMTP and LMTP connections are sent away."""
        return self.slot.ledger.value(SUPERVISOR, Field.MAINTENANCE) != 0

    def ban_policy(self) -> BanPolicy:
        """By the settings of now. A proxy's own address is never banned."""
        settings = self.settings
        never = (*settings.ban_never, *settings.proxy_networks)
        return BanPolicy(settings.ban_failures, int(settings.ban_seconds), never)

    @classmethod
    def build(
        cls,
        settings: Settings,
        store: Store,
        slot: Slot,
        limiter: Limiter,
        gate: HashGate,
        *,
        tls: TlsHolder | None = None,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Node:
        """The node of a worker, with its loop running."""
        threads = Pool(THREADS, "content")
        watch = MailboxWatch()
        made: list[Node] = []
        bans = Bans(store, limiter, lambda: made[0].ban_policy() if made else BanPolicy(), clock=clock)
        authenticator = Authenticator(store, gate, slot, bans)
        node = cls(
            settings=settings,
            store=store,
            slot=slot,
            limiter=limiter,
            authenticator=authenticator,
            bans=bans,
            tls=tls or TlsHolder(),
            memory=MemoryBudget(settings.memory_budget),
            disk=DiskGauge(str(settings.disk), threads, least=settings.disk_reserve),
            threads=threads,
            owner=this_process(among_nodes=settings.among_nodes),
            ids=MessageIds(slot.number, clock, among_nodes=settings.among_nodes),
            routes=Routes(store),
            standings=Standings(store),
            story=Story(store, clock),
            deadlines=Deadlines(),
            watch=watch,
            accounts=AccountViews(store, watch),
            views=Views(),
            logins=LoginWatch(authenticator),
            resolver=resolver or resolver_for(settings),
            clock=clock,
        )
        store.on_commit(node.watch.changed)
        store.on_commit(node.routes.changed)
        store.on_commit(node.standings.changed)
        store.on_commit(authenticator.changed)
        store.on_commit(bans.changed)
        made.append(node)
        node.disk.is_low()  # so that the first message finds a true answer
        return node

    def close(self) -> None:
        """After the last session: end the threads."""
        self.threads.shutdown(wait=False, cancel_futures=True)


def resolver_for(settings: Settings) -> CachingResolver:
    """The resolver of these settings. It opens nothing before it is asked."""
    return open_resolver(
        engine=cast("Choice", settings.dns_engine),
        servers=settings.dns_servers,
        trust_anchor=str(settings.dns_trust_anchor or ""),
        insecure=settings.dns_insecure_zones,
        timeout=settings.dns_timeout_seconds,
    )
