"""Which servers are asked: those that are named, else those of the system (resolv.conf)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

PORT = 53
RESOLV_CONF = Path("/etc/resolv.conf")
_MOST = 3  # as the system's own resolver takes (MAXNS)
_LONGEST = 64 * 1024  # octets of a resolv.conf


class Server(Struct, frozen=True):
    """A name server. `address` is IPv4 or IPv6, with its zone when it is a link-local one."""

    address: str
    port: int = PORT

    @classmethod
    def read(cls, text: str) -> Server:
        """`192.0.2.1`, `192.0.2.1@5353`, `2001:db8::1@53`, `fe80::1%eth0`. Raises ValueError."""
        address, at, port = text.strip().partition("@")
        number = int(port) if at and port.isascii() and port.isdigit() else PORT if not at else 0
        if not 0 < number < 65536:
            raise ValueError(f"no port in {text!r}")
        return cls(str(ip_address(address)), number)

    def __str__(self) -> str:
        """As libunbound and the settings spell it."""
        return self.address if self.port == PORT else f"{self.address}@{self.port}"

    @property
    def with_port(self) -> str:
        """As c-ares spells it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def system_servers(file: Path = RESOLV_CONF) -> tuple[Server, ...]:
    """The servers of a resolv.conf(5); this machine when it names none or is not there, as the system's own does."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_LONGEST).decode("latin-1")
    except OSError:
        text = ""
    found: list[Server] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(Server(str(ip_address(words[1]))))
            except ValueError:
                continue
    return tuple(found[:_MOST]) or (Server("127.0.0.1"),)
