"""Listening sockets: which the settings ask for, opening them, and which worker serves which.

Each listener is one socket that all workers accept from. With a socket for each of them (SO_REUSEPORT) the kernel
chooses the worker by a hash, and a connection may wait for a busy one while another is idle: that was a tenth slower
and took more processor time. The supervisor keeps the sockets open while workers come and go, so that no queue is lost.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from .inheritance import Listening

log = structlog.get_logger()

LONGEST_PATH = 107  # octets of a unix socket's name (unix(7))
BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_NAMES = {
    "smtp": "SMTP",
    "submission": "Submission",
    "submissions": "Submissions",
    "lmtp": "LMTP",
    "sendmail": "Sendmail",
    "imap": "IMAP",
    "imaps": "IMAPS",
    "pop3": "POP3",
    "pop3s": "POP3S",
    "api": "API",
    "health": "Health",
}
_SETTINGS = {"smtp": "SMTP_PORT", "submissions": "SMTP_SMTPS_PORT"}  # the others are named after their role
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START


class ListenerSettings(Protocol):
    """What of the settings this module reads."""

    @property
    def host(self) -> str: ...
    @property
    def http_host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def submission_port(self) -> int | None: ...
    @property
    def smtps_port(self) -> int | None: ...
    @property
    def imap_port(self) -> int | None: ...
    @property
    def imaps_port(self) -> int | None: ...
    @property
    def pop3_port(self) -> int | None: ...
    @property
    def pop3s_port(self) -> int | None: ...
    @property
    def lmtp_port(self) -> int | None: ...
    @property
    def lmtp_socket(self) -> Path | None: ...
    @property
    def sendmail_socket(self) -> Path: ...
    @property
    def sendmail_users(self) -> str: ...
    @property
    def api_port(self) -> int | None: ...
    @property
    def health_port(self) -> int | None: ...
    @property
    def enable_tls(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Address:
    """What a listener binds: `host` and `port` (0: the system chooses), or `path` of a unix socket.

    `role` says what is spoken there: smtp, submission, submissions, lmtp, sendmail, imap, imaps, pop3, pop3s, api or
    health.
    """

    role: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True)
class Listener:
    """An address and its open sockets."""

    address: Address
    sockets: list[socket.socket] = field(default_factory=list)
    passed: bool = False  # by systemd: then their number is not ours to choose

    @property
    def port(self) -> int:
        """The port it has in truth, 0 for a unix socket."""
        return 0 if self.address.path else int(self.sockets[0].getsockname()[1])

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        if self.address.path and not self.passed:
            with suppress(OSError):
                os.unlink(self.address.path)

    def __str__(self) -> str:
        address = self.address
        return str(address) if address.path else str(Address(address.role, address.host, self.port))


class ListenError(Exception):
    """A listener cannot be opened; the text says which, why, and what to do."""


def wanted(settings: ListenerSettings) -> tuple[Address, ...]:
    """The addresses the settings ask for."""
    host, local = settings.host, settings.http_host
    ports = [
        ("smtp", host, settings.port),
        ("submission", host, settings.submission_port),
        ("submissions", host, settings.smtps_port if settings.enable_tls else None),
        ("imap", host, settings.imap_port),
        ("imaps", host, settings.imaps_port if settings.enable_tls else None),
        ("pop3", host, settings.pop3_port),
        ("pop3s", host, settings.pop3s_port if settings.enable_tls else None),
        ("lmtp", "127.0.0.1", settings.lmtp_port),
        ("api", local, settings.api_port),
        ("health", local, settings.health_port),
    ]
    addresses = [Address(role, at, port) for role, at, port in ports if port is not None]
    if settings.lmtp_socket is not None:
        addresses.append(Address("lmtp", path=os.path.abspath(settings.lmtp_socket)))
    if settings.sendmail_users.strip().lower() != "none":
        path = os.path.abspath(settings.sendmail_socket)
        if len(os.fsencode(path)) <= LONGEST_PATH:
            addresses.append(Address("sendmail", path=path))
        else:
            log.warning("SMTP_SENDMAIL_SOCKET: no socket can have so long a path; sendmail uses its folder", path=path)
    return tuple(addresses)


class Listeners:
    """All open listeners of the server. `owner` is the (uid, gid) that unix sockets are given to."""

    def __init__(self, owner: tuple[int, int] | None = None) -> None:
        self.by_address: dict[Address, Listener] = {}
        self._owner = owner
        self._passed: list[tuple[str, socket.socket]] = []

    def adopt(self, environ: MutableMapping[str, str]) -> None:
        """Take the sockets that systemd opened (sd_listen_fds(3)), and remove its variables."""
        count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
        names = environ.pop("LISTEN_FDNAMES", "").split(":")
        if pid != str(os.getpid()) or not count.isdecimal():
            return
        for n in range(int(count)):
            sock = socket.socket(fileno=_FIRST_PASSED + n)
            sock.setblocking(False)
            sock.set_inheritable(False)
            self._passed.append((names[n] if n < len(names) else "", sock))

    def inherit(self, entries: Iterable[Listening]) -> None:
        """Take those that another program opened."""
        for entry in entries:
            address = Address(entry.role, entry.host, entry.port, entry.path)
            sockets = [socket.socket(fileno=number) for number in entry.descriptors]
            for sock in sockets:
                sock.setblocking(False)
            self.by_address[address] = Listener(address, sockets, entry.passed)

    def keep_inherited(self, entries: Iterable[Listening]) -> None:
        """Close those that were not inherited."""
        self.keep(Address(entry.role, entry.host, entry.port, entry.path) for entry in entries)

    def entries(self) -> list[Listening]:
        """All that are open, for another program to inherit."""
        return [
            Listening(
                role=address.role,
                host=address.host,
                port=address.port,
                path=address.path,
                passed=listener.passed,
                descriptors=[sock.fileno() for sock in listener.sockets],
            )
            for address, listener in self.by_address.items()
        ]

    def extend(self, addresses: Iterable[Address], *, listen: bool = True) -> None:
        """Open what is not open yet. All of it or nothing.

        Without `listen` the new sockets are only bound until `listen` is called: else connections would wait in a
        queue that nobody serves, if the workers that they are for do not become ready. Raises ListenError.
        """
        opened: dict[Address, Listener] = {}
        try:
            for address in addresses:
                if address in self.by_address or address in opened:
                    continue
                passed = self._take_passed(address)
                opened[address] = Listener(address, passed or [self._open(address, listen)], bool(passed))
        except ListenError:
            for address, listener in opened.items():
                if listener.passed:  # systemd's stay for the next try
                    self._passed += [(address.role, sock) for sock in listener.sockets]
                else:
                    listener.close()
            raise
        self.by_address |= opened

    def listen(self) -> None:
        """All of them."""
        for listener in self.by_address.values():
            for sock in listener.sockets:
                sock.listen(BACKLOG)

    def keep(self, addresses: Iterable[Address]) -> None:
        """Close every listener that is not one of these."""
        kept = set(addresses)
        for address in [a for a in self.by_address if a not in kept]:
            self.by_address.pop(address).close()

    def share(self, index: int, workers: int) -> list[tuple[Address, socket.socket]]:
        """The sockets that worker `index` of `workers` serves; together the workers serve all.

        Only systemd passes more than one for an address.
        """
        mine: list[tuple[Address, socket.socket]] = []
        for address, listener in self.by_address.items():
            sockets = listener.sockets
            chosen = sockets[index::workers] if len(sockets) >= workers else [sockets[index % len(sockets)]]
            mine += [(address, sock) for sock in chosen]
        return mine

    def say(self) -> None:
        """Every listener, to the log."""
        for address, listener in self.by_address.items():
            log.info(f"{_NAMES[address.role]} Server listening on {listener}")

    def ports(self) -> dict[str, int]:
        """Port by role, without unix sockets."""
        return {a.role: listener.port for a, listener in self.by_address.items() if not a.path}

    def unused(self) -> list[str]:
        """Sockets that systemd passed and no setting asks for."""
        return [name or str(sock.getsockname()) for name, sock in self._passed]

    def close(self) -> None:
        self.keep(())
        for _, sock in self._passed:
            sock.close()
        self._passed.clear()

    def _take_passed(self, address: Address) -> list[socket.socket]:
        mine = [entry for entry in self._passed if _is_for(entry, address)]
        self._passed = [entry for entry in self._passed if entry not in mine]
        return [sock for _, sock in mine]

    def _open(self, address: Address, listen: bool) -> socket.socket:
        try:
            if address.path:
                sock = _open_unix(address.path, self._owner, public=address.role == "sendmail")
            else:
                sock = _open_tcp(address.host, address.port)
            if listen:
                sock.listen(BACKLOG)
            return sock
        except OSError as error:
            raise ListenError(_explain(address, error)) from error


def _open_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(path: str, owner: tuple[int, int] | None, *, public: bool) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        mask = os.umask(0o111 if public else 0o117)  # 0666 or 0660 from its first moment
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        if owner is not None:
            os.chown(path, *owner)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed server left; what somebody serves, or is no socket, stays and the bind fails."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def _is_for(entry: tuple[str, socket.socket], address: Address) -> bool:
    """By its FileDescriptorName=, else by what it is bound to."""
    name, sock = entry
    if name in _NAMES:
        return name == address.role and (sock.family == socket.AF_UNIX) == bool(address.path)
    if sock.family == socket.AF_UNIX:
        return bool(address.path) and sock.getsockname() == address.path
    return not address.path and sock.getsockname()[1] == address.port


_FIXES: Mapping[int, str] = {
    errno.EADDRINUSE: "another program listens there: stop it or choose another port (`ss -ltnp` shows it)",
    errno.EACCES: "ports below 1024 need AmbientCapabilities=CAP_NET_BIND_SERVICE or root: choose a higher port or "
    "grant it; for a socket file let this user write its folder",
    errno.EADDRNOTAVAIL: "this machine has no such address: correct SMTP_HOST or SMTP_HTTP_HOST",
    errno.ENOENT: "make the folder it is to be in",
}


def _explain(address: Address, error: OSError) -> str:
    name = _SETTINGS.get(address.role, f"SMTP_{address.role.upper()}_PORT")
    if address.path:
        name = f"SMTP_{address.role.upper()}_SOCKET"
    reason = (error.strerror or str(error)).lower()
    fix = _FIXES.get(error.errno or 0, "")
    return f"{name}: cannot listen on {address}: {reason}" + (f". Fix: {fix}" if fix else "")
