"""Who a client is: names and passwords against the accounts of the store.

A password that was right is remembered for a minute (as a keyed hash, with the version of the account's credentials),
so a client that opens ten connections costs one argon2. After every change of the directory the account is read again
before that memory is used, so a changed password or a disabled account ends it: at once when this worker changed it,
within a second when another process did. A failure takes a second, and an unknown name takes as long as a wrong
password.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

import structlog

from pillarbox.store import client_certificates, directory, tokens
from pillarbox.store.errors import NotFound, StoreError
from pillarbox.store.records import User
from pillarbox.store.secrets import make_secret, secret
from pillarbox.store.store import Store
from pillarbox.store.tx import DIRECTORY, Touched, Tx

from . import bearer, passwords
from .bans import Bans, network_of
from .imitation import imitation
from .ledger import Field, Slot
from .passwords import HashGate, TemporarilyUnavailable
from .sasl_scram import ScramKeys, parse_keys

log = structlog.get_logger()

REMEMBERED = 60.0  # seconds
FAILURE = 1.0  # seconds that a failed login takes
REPEATED = 3600.0  # seconds in which the same wrong password counts once
IMITATION = "scram_imitation"  # name of the secret for names that nobody has
_MOST_REMEMBERED = 10_000
_READ_AT_ONCE = 100  # accounts looked up in one read


class TemporaryFailure(Exception):
    """The password could not be checked now: 454 4.7.0, IMAP NO [UNAVAILABLE]."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has logged in, and the version of the credentials that were used; `token_id` of a bearer token,
    `certificate_id` of a registered certificate."""

    user_id: int
    username: str
    email: str
    role: str
    credentials_version: int
    token_id: int | None = None
    certificate_id: int | None = None


class _Right(NamedTuple):
    """Whose password it was, until when that is remembered, and the state of the directory in which it was read."""

    identity: Identity
    until: float
    directory: int


class Authenticator:
    """Checks names and passwords for one worker. `clock` and `sleep` are in seconds, injected for tests."""

    def __init__(
        self,
        store: Store,
        gate: HashGate,
        slot: Slot | None = None,
        bans: Bans | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._gate = gate
        self._slot = slot
        self._bans = bans
        self._wrong: dict[bytes, float] = {}  # what failed from where, until when it counts once
        self._clock = clock
        self._sleep = sleep
        self._secret = os.urandom(32)
        self._remembered: dict[bytes, _Right] = {}
        self._directory = 0  # changes of the directory that were heard of
        self._checking: dict[tuple[bytes, str], asyncio.Future[bool]] = {}  # hashes under way, by password and hash

    async def check(self, username: str, password: str, peer: str = "", protocol: str = "smtp") -> Identity | None:
        """The account, or None for a wrong name or password or a disabled account, after a second.

        The name is the account's username or its e-mail address. Raises TemporaryFailure when the store or the
        machine cannot answer now.
        """
        began = self._clock()
        if self._barred(peer):
            await self.failed(username, peer, protocol, began)
            return None
        try:
            identity = await self._verified(username, password, peer)
        except (StoreError, TemporarilyUnavailable) as error:
            log.warning("Authentication is not possible now", user=_shown(username), peer=peer, error=str(error))
            raise TemporaryFailure(str(error)) from error
        if identity is None:
            await self.failed(username, peer, protocol, began, counted=self._is_new(username, password, peer))
            return None
        self._succeeded(username, peer, protocol)
        return identity

    async def scram_keys(self, username: str) -> tuple[Identity | None, ScramKeys]:
        """The account and its SCRAM keys; for a name that cannot log in so, keys that no proof fits.

        Raises TemporaryFailure.
        """
        try:
            user, secret = await self._store.read(_scram_user, username)
            if secret is None:
                secret = await self._store.write(make_secret, IMITATION)
        except StoreError as error:
            raise TemporaryFailure(str(error)) from error
        identity = _identity(user)
        keys = parse_keys(user.scram_sha256) if user is not None and identity is not None else None
        return (None, imitation(secret, username)) if keys is None else (identity, keys)

    async def proven(
        self, identity: Identity | None, username: str, peer: str, protocol: str, began: float
    ) -> Identity | None:
        """The account whose keys `scram_keys` gave and whose password was proven, if it may still log in.

        Raises TemporaryFailure.
        """
        try:
            outdated = identity is None or await self.outdated([identity])
        except StoreError as error:
            raise TemporaryFailure(str(error)) from error
        if identity is None or outdated or self._barred(peer):
            await self.failed(username, peer, protocol, began)
            return None
        self._record(identity)
        self._succeeded(username, peer, protocol)
        return identity

    async def check_token(self, username: str, token: str, peer: str = "", protocol: str = "smtp") -> Identity | str:
        """The account of a bearer token, or why it is none, after a second: an error of RFC 6750 section 3.1.

        `username` may be empty. Raises TemporaryFailure.
        """
        began = self._clock()
        try:
            found = await self._store.read(bearer.find, username, bearer.token_hash(token))
        except NotFound:
            found = None
        except StoreError as error:
            raise TemporaryFailure(str(error)) from error
        identity = None if found is None else _identity(found[1])
        if found is None or identity is None or self._barred(peer) or not bearer.covers(found[0].scope, protocol):
            await self.failed(username, peer, protocol, began)
            return bearer.INVALID if identity is None else bearer.TOO_NARROW
        self._store.write(tokens.used, found[0].id).add_done_callback(_heard)
        self._record(identity)
        self._succeeded(identity.username, peer, protocol)
        return replace(identity, token_id=found[0].id)

    async def check_certificate(
        self, addresses: Sequence[str], username: str, peer: str = "", protocol: str = "smtp", *, fingerprint: str = ""
    ) -> Identity | None:
        """The account of a client's certificate, or None after a second.

        A registered one leads to its account. The addresses in another one are read as names at a login are. When they
        lead to several accounts the client must say which it wants, and it can have no other. Raises TemporaryFailure.
        """
        began = self._clock()
        try:
            found, wanted = await self._store.read(_certified, addresses, username, fingerprint)
        except StoreError as error:
            raise TemporaryFailure(str(error)) from error
        if username:
            chosen = found.get(wanted.user_id) if wanted is not None else None
        else:
            chosen = next(iter(found.values())) if len(found) == 1 else None
        if chosen is None or self._barred(peer):
            await self.failed(username or " ".join(addresses) or fingerprint, peer, protocol, began)
            return None
        self._record(chosen)
        self._succeeded(chosen.username, peer, protocol)
        return chosen

    async def failed(self, username: str, peer: str, protocol: str, began: float, *, counted: bool = True) -> None:
        """Count and log a login that failed, and let it take its second from `began` on; those after it take longer.

        With `counted` it brings a ban nearer.
        """
        self._count(Field.AUTH_FAILURES)
        log.warning(f"Authentication failed for user '{_shown(username)}'", peer=peer, protocol=protocol)
        seconds = FAILURE if self._bans is None else self._bans.failed(peer, protocol, counted=counted)
        await self._sleep(max(0.0, began + seconds - self._clock()))

    def _barred(self, peer: str) -> bool:
        """Whether this address is banned: no password of it is looked at, right or wrong."""
        return self._bans is not None and self._bans.of(peer) is not None

    def _is_new(self, username: str, password: str, peer: str) -> bool:
        """Whether this name and password have not failed from there lately: a program that repeats itself guesses
        nothing. Of guesses that others made before, each address has to answer for its own."""
        if self._bans is None or self._bans.spared(peer):
            return True
        now, key = self._clock(), self._key(f"{network_of(peer)}\0{username}", password)
        known = self._wrong.pop(key, 0.0) > now
        self._wrong[key] = now + REPEATED  # as the last one: who repeats himself is not forgotten for a flood of others
        if len(self._wrong) > _MOST_REMEMBERED:
            del self._wrong[next(iter(self._wrong))]
        return not known

    def _key(self, username: str, password: str) -> bytes:
        return blake2b(f"{username}\0{password}".encode("utf-8", "surrogatepass"), key=self._secret).digest()

    def _succeeded(self, username: str, peer: str, protocol: str) -> None:
        self._count(Field.AUTH_SUCCESSES)
        log.info(f"User '{_shown(username)}' authenticated successfully", peer=peer, protocol=protocol)

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds, for `began`."""
        return self._clock

    async def outdated(self, identities: Sequence[Identity]) -> list[Identity]:
        """Those whose account has gone, was disabled, or has got other credentials since they logged in."""
        found: list[Identity] = []
        for at in range(0, len(identities), _READ_AT_ONCE):
            some = identities[at : at + _READ_AT_ONCE]
            current = await self._store.read(_identities, some)
            found += [was for was, now in zip(some, current, strict=True) if was != now]
        return found

    async def _verified(self, username: str, password: str, peer: str) -> Identity | None:
        if not password or "\0" in username or "\0" in password:
            return None
        key, state = self._key(username, password), self._directory
        known = self._known(key)
        if known is not None and known.directory == state:
            return known.identity
        user = await self._store.read(directory.user, username)
        identity = _identity(user)
        if identity is not None and known is not None and _same_credentials(known.identity, identity):
            self._remembered[key] = _Right(identity, known.until, state)
            return identity
        self._remembered.pop(key, None)
        stored = passwords.PLACEHOLDER if user is None else user.password_hash
        right = await self._right(key, stored, password, peer)
        if not right or user is None or identity is None:
            return None
        self._remember(key, identity, state)
        self._record(identity)
        if passwords.needs_rehash(stored):
            await self._rehash(user, password, peer)
        return identity

    async def _right(self, key: bytes, stored: str, password: str, peer: str) -> bool:
        """Whether the password fits the hash. A client that opens its connections all at once asks the same as often:
        one hash answers them all."""
        asked = (key, stored)
        running = self._checking.get(asked)
        if running is None:
            work = self._gate.run(lambda: passwords.verify(stored, password), peer)
            running = self._checking[asked] = asyncio.ensure_future(work)
            running.add_done_callback(lambda _: self._checking.pop(asked))
        return await asyncio.shield(running)

    def _known(self, key: bytes) -> _Right | None:
        known = self._remembered.get(key)
        return known if known is not None and known.until > self._clock() else None

    def _remember(self, key: bytes, identity: Identity, state: int) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            now = self._clock()
            self._remembered = {k: v for k, v in self._remembered.items() if v.until > now}
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
        self._remembered[key] = _Right(identity, self._clock() + REMEMBERED, state)

    def changed(self, touched: Collection[Touched]) -> None:
        """What a commit has touched, for `store.on_commit`."""
        if DIRECTORY in touched:
            self._directory += 1

    async def _rehash(self, user: User, password: str, peer: str) -> None:
        """Replace a hash that was made with other parameters, now that the password is at hand."""
        try:
            fresh, scram = await self._gate.run(lambda: passwords.hash_password(password), peer)
            await self._store.write(directory.upgrade_hash, user.id, user.password_hash, fresh, scram)
        except (StoreError, TemporarilyUnavailable) as error:
            log.info("A password hash was not renewed", user=_shown(user.username), error=str(error))

    def _record(self, identity: Identity) -> None:
        """Note the time of the login. Nobody waits for it, and a full disk keeps nobody from reading."""
        self._store.write(directory.record_login, identity.user_id).add_done_callback(_heard)

    def _count(self, field: Field) -> None:
        if self._slot is not None:
            self._slot.add(field)


def _same_credentials(one: Identity, other: Identity) -> bool:
    return (one.user_id, one.credentials_version) == (other.user_id, other.credentials_version)


def _identity(user: User | None) -> Identity | None:
    if user is None or not user.enabled:
        return None
    return Identity(user.id, user.username, user.email, user.role, user.credentials_version)


def _certified(
    tx: Tx, addresses: Sequence[str], username: str, fingerprint: str
) -> tuple[dict[int, Identity], Identity | None]:
    """The accounts of a certificate by id, and the account of the name, those that may log in."""
    registered = client_certificates.find(tx, fingerprint) if fingerprint else None
    if registered is None:
        found = [_identity(directory.user(tx, address)) for address in addresses]
    else:
        owner = _identity(directory.get_user(tx, registered.user_id))
        found = [owner and replace(owner, certificate_id=registered.id)]
    by_id = {identity.user_id: identity for identity in found if identity is not None}
    return by_id, _identity(directory.user(tx, username)) if username else None


def _scram_user(tx: Tx, username: str) -> tuple[User | None, bytes | None]:
    return directory.user(tx, username), secret(tx, IMITATION)


def _identities(tx: Tx, known: Sequence[Identity]) -> list[Identity | None]:
    """What they are now: None for who may not log in any more, or whose token or certificate is not
    good."""
    return [_now(tx, identity) for identity in known]


def _now(tx: Tx, known: Identity) -> Identity | None:
    identity = _identity(directory.user(tx, known.username))
    if identity is None:
        return None
    if known.certificate_id is not None:
        there = client_certificates.is_there(tx, identity.user_id, known.certificate_id)
        return replace(identity, certificate_id=known.certificate_id) if there else None
    if known.token_id is None:
        return identity
    return replace(identity, token_id=known.token_id) if bearer.is_good(tx, identity.user_id, known.token_id) else None


def _heard(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.info("A login was not recorded: %s", error)


def _shown(username: str) -> str:
    """A name as a stranger typed it, fit for a log line."""
    return "".join(c if c.isprintable() else "?" for c in username[:128])
