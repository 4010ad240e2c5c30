r"""Plays conversations written in a text file against `ImapCore`.

    == A title begins a conversation
    = plain starttls state=selected enabled=QRESYNC append=100     options: of the core, its Limits and its Offer
    C: a NOOP                       the client says this and CRLF
    C> raw \r\n octets\x00          the client sends exactly these octets (Python's escapes)
    S: a OK NOOP completed          the server answered this line; all that it said must be written
    E: NOOP                         this event came; those not written are not compared
    A login: NO [CODE] text         the next event of this kind is answered so, others with OK
    A authenticate: + challenge     ... or with a challenge
    TLS                             the session has done the handshake
    CLOSED                          the core has ended the conversation

`C: |3| NOOP` sends three of them. Lines that begin with `#` are remarks. The greeting is not compared.
"""

import dataclasses
import re
from enum import Enum
from typing import Any

from dialogues.player import Player
from pillarbox.imap import events
from pillarbox.imap.core import ImapCore
from pillarbox.imap.extensions import Offer
from pillarbox.imap.fetch import Section
from pillarbox.imap.limits import Limits
from pillarbox.imap.sequence import SequenceSet, render_ranges
from pillarbox.imap.state import State

LIMITS = {field.name for field in dataclasses.fields(Limits)}


class ImapPlayer(Player):
    content = b""  # of the APPEND under way

    @classmethod
    def core_of(cls, options: list[str]) -> ImapCore:
        """TLS is on unless `plain` is among the options."""
        words = dict(option.partition("=")[::2] for option in options)
        limits = {name: int(value) for name, value in words.items() if name in LIMITS}
        offer = Offer(starttls="starttls" in words, plaintext="plaintext" in words)
        core = ImapCore("imap.example.com", tls="plain" not in words, limits=Limits(**limits), offer=offer)
        core.state = State[words.get("state", "not_authenticated").upper()]
        core.enable(words.get("enabled", "").split(","))
        return core

    def drain(self) -> None:
        while (event := self.core.next_event()) is not None:
            self.events += self.told(event)
            if not isinstance(event, events.LiteralChunk | events.StartTls):
                self.answer(event)
        self.said += b"".join(self.core.output()).decode().split("\r\n")[:-1]

    def answer(self, event: Any) -> None:
        kind = event.name.lower() if isinstance(event, events.Command) else type(event).__name__.lower()
        planned = next((at for at, (wanted, _) in enumerate(self.answers) if wanted == kind), None)
        if planned is None:
            self.accept(event)
            return
        _, answer = self.answers.pop(planned)
        status, _, text = answer.partition(" ")
        if status == "+":
            self.core.challenge(text.encode())
            return
        code = re.match(r"\[(.*?)\] ", text)
        self.core.tagged(event.tag, status, text[code.end() :] if code else text, code[1] if code else None)

    def accept(self, event: Any) -> None:
        core = self.core
        name = event.name if isinstance(event, events.Command) else type(event).__name__.upper()
        match event:
            case events.Logout():
                return core.logout()
            case events.Idle():
                return core.continuation()
            case events.AppendStart(_, args) if args.catenate:
                return core.go_on()
            case events.AppendStart() | events.CatenateText():
                return core.accept_literal()
            case events.CatenateUrl():
                return core.go_on()
            case events.AppendEnd(tag, str(fault), code, status):
                return core.tagged(tag, status, fault, code)
            case events.IdleDone(tag, str(fault)):
                return core.tagged(tag, "BAD", fault)
            case events.AuthResponse(tag, None):
                return core.tagged(tag, "BAD", "cancelled")
            case events.AppendEnd():
                name = "APPEND"
            case events.IdleDone():
                name = "IDLE"
            case events.AuthResponse():
                name = "AUTHENTICATE"
        if name in ("LOGIN", "AUTHENTICATE"):
            core.authenticated()
        elif name in ("SELECT", "EXAMINE"):
            core.selected()
        elif name == "UNAUTHENTICATE":
            core.unauthenticated()
        elif name in ("CLOSE", "UNSELECT"):
            core.unselected()
        elif name == "ENABLE":
            core.untagged(" ".join(("ENABLED", *core.enable(event.args.names))).encode())
        return core.tagged(event.tag, "OK", f"{name} completed")

    def told(self, event: events.Event) -> list[str]:
        """The event as it is written in a file; the chunks of a literal are told with its end."""
        match event:
            case events.Command(_, name, args, uid):
                return [" ".join((*(["UID"] if uid else []), name, *shown(args)))]
            case events.AppendStart(_, args):
                self.content += b" and " * bool(self.content)
                return [" ".join(("APPEND", *shown(args)))]
            case events.LiteralChunk(data):
                self.content += data
                return []
            case events.CatenateUrl(_, url):
                self.content += f"<{url}>".encode()
                return []
            case events.CatenateText():
                return []
            case events.AppendEnd(_, fault):
                content, self.content = self.content, b""
                return [f"literal {repr(content)[2:-1]}" + (f" FAULT {fault}" if fault else "")]
            case events.Authenticate(_, mechanism, initial):
                return [f"AUTHENTICATE {mechanism}" + ("" if initial is None else f" {ascii(initial)[1:]}")]
            case events.AuthResponse(_, data):
                return ["response cancelled" if data is None else f"response {ascii(data)[1:]}"]
            case _:
                return [type(event).__name__.lower()]


def shown(args: Any) -> list[str]:
    """`name=value` of every field that is not as by default."""
    if args is None:
        return []
    words = []
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        if value != field.default or field.default is dataclasses.MISSING:
            words.append(f"{field.name}={text_of(value)}")
    return words


def text_of(value: Any) -> str:
    match value:
        case SequenceSet():
            text = render_ranges(value.ranges).decode()
            return ",".join(filter(None, (text, "$" if value.saved else "")))
        case Section():
            partial = f"{value.partial[1]}" if value.partial else ""
            return ("peek " if value.peek else "") + value.label.decode() + partial
        case Enum():
            return value.value.decode()
        case tuple():
            return f"({','.join(map(text_of, value))})"
        case frozenset():
            return f"({','.join(sorted(map(text_of, value)))})"
        case _ if dataclasses.is_dataclass(value):
            return f"{type(value).__name__}({' '.join(shown(value))})"
        case _:
            return str(value)


play = ImapPlayer.play
