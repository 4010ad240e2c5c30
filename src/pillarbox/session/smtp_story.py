"""What an SMTP session notes of each envelope for `pillarbox trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillarbox.access.limits import Role
from pillarbox.flow.deliver import Result
from pillarbox.flow.outcomes import told
from pillarbox.smtp.events import TOO_BIG
from pillarbox.smtp.replies import Reply

if TYPE_CHECKING:
    from .smtp_envelope import EnvelopeSession

_VIA = {Role.LMTP: "lmtp", Role.SUBMISSION: "submission"}


def facts(session: EnvelopeSession) -> dict[str, Any]:
    """Who the client is and how it came."""
    secured, identity = session.secured, session.identity
    return {
        "peer": str(session.peer),
        "hello": session.hello,
        "tls": " ".join(secured) if secured is not None else "",
        "user": identity.username if identity is not None else "",
        "via": _VIA.get(session.role, ""),
    }


def refused(
    session: EnvelopeSession, message_key: str, reply: Reply, stage: str, sender: str, recipient: str = ""
) -> None:
    """A sender (`stage` MAIL), a recipient (RCPT) or a message (END) was refused."""
    text = reply.text if isinstance(reply.text, str) else " ".join(reply.text)
    session.node.story.note(
        message_key,
        "refused",
        sender=sender,
        recipient=recipient,
        stage=stage,
        code=reply.code,
        enhanced=reply.enhanced,
        text=text,
        **facts(session),
    )


def faulty(session: EnvelopeSession, message_key: str, fault: str, sender: str) -> None:
    """The core refused a message for its octets."""
    reply = Reply(552, "5.3.4", fault) if fault == TOO_BIG else Reply(554, "5.6.0", fault)
    refused(session, message_key, reply, "END", sender)


def accepted(
    session: EnvelopeSession, message_key: str, sender: str, result: Result, size: int, header_id: str
) -> None:
    """A message was taken; what became of it so far."""
    node = session.node
    about = {**facts(session), "size": size, "header_id": header_id}
    node.story.add(told(node.clock(), message_key, sender, result, about))
