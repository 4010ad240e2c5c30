"""SMTP from programs of this machine, over a Unix socket that any of its users may open: what `sendmail` talks to.

The kernel says who is at the other end (SO_PEERCRED), so nobody logs in. Who may submit (SMTP_SENDMAIL_USERS) may send
anywhere and in any name, as users of a machine with `sendmail` always could. What a message lacks is added, and blind
copies are taken out, as for whoever submits (RFC 6409 section 8); nothing is refused for what it looks like.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from functools import lru_cache
from typing import cast

from pillarbox.access.limits import Role
from pillarbox.access.local_users import may_submit
from pillarbox.config import Settings
from pillarbox.smtp.events import Event, Hello, Mail
from pillarbox.smtp.replies import Reply

from .node import Node
from .peer import Peer
from .smtp import SmtpSession
from .smtp_connection import Work
from .smtp_submission import NOTHING, Submission

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_NOT_ALLOWED = Reply(550, "5.7.1", "You may not send mail from this machine (SMTP_SENDMAIL_USERS)")


class LocalPeer(Peer):
    """A process of this machine, by the user it runs as (kept in `port`)."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"uid {self.port}"


class LocalSession(SmtpSession):
    """One program's conversation."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, Role.SMTP)
        self._settings = _of_this_machine(node.settings)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = LocalPeer("", _uid(transport.get_extra_info("socket")), "")
        self._peer_known = True
        if not may_submit(self.node.settings.sendmail_users, self.peer.port):
            self.transport = cast(asyncio.Transport, transport)
            self._refuse(_NOT_ALLOWED)
            return
        super().connection_made(transport)

    def answer(self, event: Event) -> Work | None:
        # What the program calls itself says nothing; the trace names the user.
        return super().answer(Hello(str(self.peer), event.esmtp) if isinstance(event, Hello) else event)

    def _may_relay(self) -> bool:
        return True

    def _within_rate(self) -> bool:
        return True

    def _mending(self, event: Mail) -> Submission:
        node, hostname = self.node, self.core.hostname
        author = event.sender.address or f"MAILER-DAEMON@{hostname}"
        return Submission(author, NOTHING, self._message_id, hostname, node.clock(), node.memory, strict=False)


@lru_cache(maxsize=2)
def _of_this_machine(settings: Settings) -> Settings:
    """No octet leaves the machine here, and the kernel says who is there: SMTP_REQUIRE_TLS and SMTP_REQUIRE_AUTH are
    no matter."""
    return settings.replace(require_tls=False, require_auth=False)


def _uid(sock: socket.socket) -> int:
    """Who opened the connection, as it was when they did."""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)
