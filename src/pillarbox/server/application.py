"""What a worker of the mail server runs: the store, the sessions of every protocol, HTTP, hints and jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from pillarbox.access.ledger import Field, Slot
from pillarbox.access.limits import Caps, Limiter, Role
from pillarbox.access.local_users import may_submit
from pillarbox.access.passwords import HashGate
from pillarbox.config import Settings
from pillarbox.cores import Pool
from pillarbox.flow import dead_letters
from pillarbox.flow.pickup import Pickup, Policy
from pillarbox.flow.quota_warning import thresholds_of
from pillarbox.flow.reverse_names import ReverseNames
from pillarbox.session.acceptor import Acceptor, Courtesy
from pillarbox.session.entrance import Make, entering, entrance, turn_away
from pillarbox.session.imap import ImapSession
from pillarbox.session.node import Node, resolver_for
from pillarbox.session.outgoing_self import listeners_of
from pillarbox.session.pop3 import Pop3Session
from pillarbox.session.smtp import SmtpSession
from pillarbox.session.smtp_local import LocalSession
from pillarbox.store import DIRECTORY, Away, Full, IoFault, Store, StoreError, Touched, Tx, events, migrate, open_store
from pillarbox.store.opening import truncate_wal
from pillarbox.web import checks
from pillarbox.web.figures import Figures
from pillarbox.web.interfaces import api_interface, health_interface
from pillarbox.web.serve import HttpServer

from .allocator import give_back
from .hints import Hints, Pair
from .jobs import JOBS, Job, Jobs, keeping_jobs, warning_job
from .parts import Parts
from .preparation import StartError, check_resolver, check_writable, folders, worker_count
from .search_feeder import SearchFeeder
from .securing import Securing
from .sending import scheduler_of
from .worker import Seat

log = structlog.get_logger()

THREADS = 2  # of the loop's own executor and of health checks
MINDING = 1.0  # seconds between two looks for what other processes did
LOGINS = 5  # looks between two checks of all logins, even when nobody told of a change
MEMORY = 30  # looks after which free memory is given back
ARRIVING = 3.0  # seconds that a stop leaves to a PROXY header or a handshake, so that the session can say goodbye
HTTP_PATIENCE = 10.0  # seconds that HTTP connections go on in a worker that was replaced
DAY = 86_400  # seconds
_SMTP_ROLES = frozenset({"smtp", "submission", "submissions", "lmtp", "sendmail"})
_LOCAL_ROLES = frozenset({"lmtp", "sendmail"})  # for programs of this machine; no load balancer is in front of them
_TLS_ROLES = frozenset({"submissions", "imaps", "pop3s"})  # TLS from the first octet
_HTTP_ROLES = frozenset({"api", "health"})  # whose servers close their sockets themselves
_SHORT = 0.02  # seconds between two looks whether the last session has gone
_LEISURE = 0.2  # the same when nobody waits for it

# By the size of the group: up to 1, 4, 16, 64, more.
_GROUPS = (Field.COMMIT_LE_1, Field.COMMIT_LE_4, Field.COMMIT_LE_16, Field.COMMIT_LE_64, Field.COMMIT_MORE)


class MailApplication:
    def __init__(self, seat: Seat, slot: Slot) -> None:
        self._seat = seat
        self._slot = slot
        self._node: Node
        self._securing = Securing()
        self._acceptors: list[Acceptor] = []
        self._http: list[HttpServer] = []
        self._minder: asyncio.Task[None] | None = None
        self._check_logins = asyncio.Event()

    async def start(self) -> None:
        seat, settings = self._seat, self._seat.settings
        assert isinstance(seat.shared, HashGate)
        self._threads = Pool(THREADS, "loop")
        asyncio.get_running_loop().set_default_executor(self._threads)
        self._limiter = Limiter(self._slot)
        await self._securing.apply(settings, seat.pem, seat.clients, seat.tickets)
        with _database_of(settings):
            store = await open_store(settings.store)
            await self._securing.look(store)
        resolver = resolver_for(settings)
        if seat.index == 0:
            resolver.introduce()
        self._node = Node.build(
            settings, store, self._slot, self._limiter, seat.shared, tls=self._securing.holder, resolver=resolver
        )
        self._apply(settings)
        self._hints = Hints(seat.hints, seat.ledger, seat.slot, self._heard)
        self._hints.start()
        store.on_commit(self._hints.tell, own_only=True)
        store.on_commit(self._committed)
        store.observer = self._count_group
        trim = Job("trim-stories", 3600.0, self._trim_stories)
        keeping = keeping_jobs(lambda: self._node.settings.undelete_days)
        warning = warning_job(
            lambda: thresholds_of(self._node.settings.quota_warnings), lambda: self._node.settings.hostname
        )
        dead = Job("trim-dead-letters", 3600.0, lambda tx: dead_letters.trim(tx, self._node.settings.dead_letter_days))
        self._jobs = Jobs(store, self._slot, self._node.owner, (*JOBS, *keeping, trim, dead, warning))
        self._search = SearchFeeder(store, self._slot, self._node.owner)
        self._pickup = Pickup(self._node, str(settings.pickup_dir), self._pickup_policy)
        self._queue = scheduler_of(self._node)
        self._node.handover = self._queue.handover
        self._reverse_names = ReverseNames(resolver, store, lambda: self._node.settings.hostname)
        store.notice_changes(())  # from here on changes of others are news

    async def begin(self) -> None:
        store = self._node.store
        self._jobs.start()
        self._search.start()
        if self._seat.index == 0:  # one of the workers of this machine is enough
            self._reverse_names.start()
        await self._listen(store, self._threads)
        speaking = [sock for address, sock in self._seat.sockets if address.role in _SMTP_ROLES]
        self._node.listeners = listeners_of(speaking)
        self._pickup.start()
        self._queue.start()
        self._minder = asyncio.get_running_loop().create_task(self._mind(store))

    async def reload(self, settings: Settings, pem: bytes, clients: bytes, tickets: bytes) -> None:
        await self._securing.apply(settings, pem, clients, tickets)
        self._apply(settings)

    async def drain(self, patience: float, *, now: bool) -> int:
        node, loop = self._node, asyncio.get_running_loop()
        node.draining = now  # going down: who comes late is sent away; else a newer worker is there, and he is served
        for acceptor in self._acceptors:
            acceptor.close()
        for address, sock in self._seat.sockets:
            if address.role not in _HTTP_ROLES:
                sock.close()  # while one process has it open, clients wait in a queue that nobody serves
        self._pickup.leave()
        self._queue.leave()
        for http in self._http:
            http.stop_listening()
        await asyncio.sleep(_SHORT if entering() else 0)  # what was just accepted becomes a session
        end, arrived = loop.time() + patience, loop.time() + ARRIVING
        hang_up = loop.time() + (0.0 if now else HTTP_PATIENCE)
        asked: set[object] = set()
        while True:
            for session in node.sessions - asked:
                session.leave(now=now)
                asked.add(session)
            if loop.time() >= hang_up:
                for http in self._http:
                    http.hang_up()
            if now and loop.time() >= arrived:
                turn_away()
            others = self._queue.busy or entering() or (self._requests() and not now)
            if not (node.sessions or others) or loop.time() >= end:
                break
            await asyncio.sleep(_SHORT if now else _LEISURE)
        left = len(node.sessions)
        for session in tuple(node.sessions):
            session.part()
        if left:
            await asyncio.sleep(_SHORT)  # the goodbyes go out
        return left + await self._queue.stop(0)

    def _requests(self) -> int:
        """Connections of HTTP."""
        return sum(http.connections for http in self._http)

    async def close(self) -> None:
        node = self._node
        for session in tuple(node.sessions):
            session.abort()
        if self._minder is not None:
            self._minder.cancel()
        for http in self._http:
            await http.close()
        await self._reverse_names.stop()
        await self._pickup.stop()
        await self._queue.stop(0)
        await self._search.stop()
        await self._jobs.stop()
        self._hints.stop()
        await node.story.close()
        await node.store.close()  # finishes what was taken on; nobody is left to be told
        await node.resolver.close()
        node.close()

    async def _listen(self, store: Store, threads: Pool) -> None:
        node, seat = self._node, self._seat
        figures = Figures(
            ledger=seat.ledger,
            settings=lambda: node.settings,
            store=store,
            checks=checks.Checks(
                {
                    "database": checks.database(store),
                    "filesystem": checks.filesystem(
                        str(node.settings.disk), lambda: node.settings.disk_reserve, threads
                    ),
                }
            ),
            started_at=seat.started_at,
            draining=lambda: node.draining,
        )
        http = {"health": health_interface, "api": api_interface}
        spoken: dict[str, tuple[Role, Make]] = {
            "smtp": (Role.SMTP, lambda peer: SmtpSession(node, Role.SMTP, peer)),
            "submission": (Role.SUBMISSION, lambda peer: SmtpSession(node, Role.SUBMISSION, peer)),
            "submissions": (Role.SUBMISSION, lambda peer: SmtpSession(node, Role.SUBMISSION, peer)),
            "lmtp": (Role.LMTP, lambda peer: SmtpSession(node, Role.LMTP, peer)),
            "sendmail": (Role.SMTP, lambda _: LocalSession(node)),
            "imap": (Role.IMAP, lambda peer: ImapSession(node, peer)),
            "imaps": (Role.IMAP, lambda peer: ImapSession(node, peer)),
            "pop3": (Role.POP3, lambda peer: Pop3Session(node, peer)),
            "pop3s": (Role.POP3, lambda peer: Pop3Session(node, peer)),
        }
        workers = worker_count(node.settings)
        for address, sock in seat.sockets:
            if address.role in http:
                server = HttpServer(http[address.role](figures))
                await server.start([sock])
                self._http.append(server)
            else:
                role, make = spoken[address.role]
                local, implicit_tls = address.role in _LOCAL_ROLES, address.role in _TLS_ROLES
                welcome = entrance(node, make, local=local, implicit_tls=implicit_tls)
                self._acceptors.append(Acceptor(sock, welcome, Courtesy(self._slot, role, workers)))

    def _apply(self, settings: Settings) -> None:
        """Put settings in force for what begins from now on."""
        node, limiter = self._node, self._limiter
        node.settings = settings
        node.memory.limit = settings.memory_budget
        node.disk.least = settings.disk_reserve
        limiter.caps = Caps(settings.max_connections, settings.connections_per_ip)
        limiter.window = settings.rate_limit_window_seconds
        limiter.trust_loopback = settings.trust_loopback

    def _pickup_policy(self) -> Policy:
        settings = self._node.settings
        return Policy(
            settings.hostname,
            settings.max_message_size,
            settings.accept_all,
            lambda uid: may_submit(settings.sendmail_users, uid),
        )

    def _trim_stories(self, tx: Tx) -> int:
        return events.trim(tx, (tx.now - self._node.settings.trace_days * DAY) * 1000)

    def _heard(self, pairs: list[Pair]) -> None:
        """A sibling committed something."""
        store, watch = self._node.store, self._node.watch
        if pairs:
            store.hint(Touched(*pair) for pair in pairs)
        else:
            store.notice_changes(watch.mailboxes())
            self._node.accounts.doubt()

    def _committed(self, touched: frozenset[Touched]) -> None:
        if DIRECTORY in touched:
            self._check_logins.set()

    def _count_group(self, functions: int, nanoseconds: int, committed: bool) -> None:
        slot = self._slot
        if not committed:
            slot.add(Field.COMMIT_FAILURES)
            return
        slot.add(Field.COMMITS)
        slot.add(Field.COMMIT_FUNCTIONS, functions)
        slot.add(Field.COMMIT_NANOSECONDS, nanoseconds)
        slot.add(_GROUPS[min((functions - 1).bit_length() + 1 >> 1, len(_GROUPS) - 1)] if functions else _GROUPS[0])

    async def _mind(self, store: Store) -> None:
        """Once a second: what others did and no hint told, and logins that are no longer good. Now and then: memory
        that is free and could be others'."""
        node, looks = self._node, 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(MINDING):
                    await self._check_logins.wait()
            looks += 1
            self._slot.set(Field.SPOOL_BYTES, node.memory.used)
            if looks % MEMORY == 0:
                asyncio.get_running_loop().run_in_executor(self._threads, give_back)
            try:
                store.notice_changes(node.watch.mailboxes())
                if self._check_logins.is_set() or looks % LOGINS == 0:
                    self._check_logins.clear()
                    await node.logins.check()
                    await self._securing.look(store)
            except StoreError as error:
                if not isinstance(error, Away):
                    log.warning("The store cannot be looked at", error=str(error))
                await asyncio.sleep(MINDING)
            except Exception:
                log.exception("Minding the store failed")
                await asyncio.sleep(MINDING)


@contextmanager
def _database_of(settings: Settings) -> Iterator[None]:
    """A fault of the database that has a setting is an error of that: StartError in place of StoreError."""
    try:
        yield
    except StoreError as error:
        if settings.database_url is None:
            raise
        where = settings.source("SMTP_DATABASE_URL")
        why = f"SMTP_DATABASE_URL ({where}): the database cannot be used: {str(error).rstrip('.?')}"
        full = isinstance(error.__cause__, Full)  # it is there, gives no more connections, and has said what helps
        fix = ". Fix: start the database, or correct the URL" if isinstance(error, IoFault) and not full else ""
        raise StartError(why + fix) from error


def prepare(settings: Settings) -> None:
    """Before the workers: the database is made and brought to this version. Raises StartError, StoreError."""
    check_writable(settings, *folders(settings))
    check_resolver(settings)
    with _database_of(settings):
        migrate(settings.store)


def conclude(settings: Settings) -> None:
    """After the last worker: a clean stop leaves no write-ahead log."""
    if not truncate_wal(settings.store):
        log.info("Another program has the database open; its write-ahead log stays")


PARTS = Parts(build=MailApplication, prepare=prepare, conclude=conclude, share=HashGate)
