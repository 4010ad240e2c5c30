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

from pillarbox.imap import events
from pillarbox.imap.core import ImapCore, Limits
from pillarbox.imap.extensions import Offer
from pillarbox.imap.fetch import Section
from pillarbox.imap.sequence import SequenceSet, render_ranges
from pillarbox.imap.state import State

LIMITS = {field.name for field in dataclasses.fields(Limits)}


def play(lines: list[str], *, split: int = 0) -> None:
    """Play a conversation; with `split` the octets of the client come so many at a time. Raises AssertionError."""
    player = Player(lines[0][2:].split() if lines[0].startswith("= ") else [], split)
    for line in lines:
        if not line.startswith("= "):
            player.step(line)
    player.nothing_left("the end")


def core_of(options: list[str]) -> ImapCore:
    """A core with these options; TLS is on unless `plain` is among them."""
    words = dict(option.partition("=")[::2] for option in options)
    limits = {name: int(value) for name, value in words.items() if name in LIMITS}
    offer = Offer(starttls="starttls" in words, plaintext="plaintext" in words)
    core = ImapCore("imap.example.com", tls="plain" not in words, limits=Limits(**limits), offer=offer)
    core.state = State[words.get("state", "not_authenticated").upper()]
    core.enable(words.get("enabled", "").split(","))
    return core


class Player:
    def __init__(self, options: list[str], split: int) -> None:
        self.split = split
        self.core = core_of(options)
        self.said: list[str] = []
        self.events: list[str] = []
        self.answers: list[tuple[str, str]] = []
        self.content = b""

    def step(self, line: str) -> None:
        who, _, text = line.partition(" ")
        if who == "C:":
            times = re.match(r"\|(\d+)\| ", text)
            count = int(times[1]) if times else 1
            text = text[times.end() :] if times else text
            self.send(line, (text.encode() + b"\r\n") * count)
        elif who == "C>":
            self.send(line, text.encode().decode("unicode_escape").encode("latin-1"))
        elif who == "S:":
            assert self.said, f"{line!r}: the server said no more"
            assert self.said.pop(0) == text, line
        elif who == "E:":
            assert text in self.events, f"{line!r} is not in {self.events}"
            del self.events[: self.events.index(text) + 1]
        elif who == "A":
            kind, _, answer = text.partition(": ")
            self.answers.append((kind, answer))
        elif who == "TLS":
            self.core.tls_started()
        elif who == "CLOSED":
            assert self.core.closed, "the conversation is still open"
        else:
            raise AssertionError(f"what is {line!r}?")

    def send(self, line: str, data: bytes) -> None:
        self.nothing_left(line)
        self.events.clear()
        for at in range(0, len(data), self.split or len(data)):
            self.core.receive(data[at : at + (self.split or len(data))])
            self.drain()

    def nothing_left(self, before: str) -> None:
        assert not self.said, f"before {before!r} the server also said {self.said}"

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
            case events.AppendStart():
                return core.accept_literal()
            case events.AppendEnd(tag, str(fault)) | events.IdleDone(tag, str(fault)):
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
                self.content = b""
                return [" ".join(("APPEND", *shown(args)))]
            case events.LiteralChunk(data):
                self.content += data
                return []
            case events.AppendEnd(_, fault):
                return [f"literal {repr(self.content)[2:-1]}" + (f" FAULT {fault}" if fault else "")]
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
