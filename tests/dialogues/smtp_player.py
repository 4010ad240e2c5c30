r"""Plays conversations written in a text file against `SmtpCore`.

    == A title begins a conversation
    = lmtp tls starttls auth=PLAIN,LOGIN recipients=2 errors=3     options: of the core, its Limits and its Offer
    C: EHLO client.example          the client says this and CRLF
    C> raw \r\n octets\x00          the client sends exactly these octets (Python's escapes)
    S: 250 mx.example.com           the server answered this line; all that it said must be written
    E: mail ada@example.com         this event came; those not written are not compared
    A rcpt: 550 5.1.1 No such user  the next rcpt event is answered with this, others are accepted
    A auth: 334 challenge           ... or with a challenge
    TLS                             the session has done the handshake
    CLOSED                          the core has ended the conversation

`C: |` and a number repeats: `C: |3| NOOP` sends three of them. Lines that begin with `#` are remarks.
"""

import re

from dialogues.player import Player
from pillarbox.smtp import events
from pillarbox.smtp.core import SmtpCore
from pillarbox.smtp.offer import Limits, Offer

FLAGS = ("lmtp", "tls")


class SmtpPlayer(Player):
    @classmethod
    def core_of(cls, options: list[str]) -> SmtpCore:
        flags, limits, offer = {}, {}, {}
        for option in options:
            name, _, value = option.partition("=")
            if name in FLAGS:
                flags[name] = True
            elif name in Limits.__struct_fields__:
                limits[name] = int(value)
            elif name == "auth":
                offer[name] = tuple(value.split(","))
            elif value.isdecimal():
                offer[name] = int(value)
            else:
                offer[name] = value != "no"
        core = SmtpCore("mx.example.com", Limits(**limits), Offer(**offer), **flags)
        core.greet()
        return core

    def drain(self) -> None:
        while (event := self.core.next_event()) is not None:
            self.events += self.told(event)
            while self.core.waiting is event:
                self.answer(type(event).__name__.lower())
        self.said += self.core.output().decode().split("\r\n")[:-1]

    def answer(self, kind: str) -> None:
        mine = [answer for answer in self.answers if answer[0] == kind]
        if not mine:
            self.core.accept()
            return
        self.answers.remove(mine[0])
        answer = mine[0][1]
        code, _, text = answer.partition(" ")
        if code == "334":
            self.core.challenge(text.encode())
        elif re.match(r"\d\.\d+\.\d+ ", text):
            enhanced, _, text = text.partition(" ")
            self.core.reply(int(code), enhanced, text)
        else:
            self.core.reply(int(code), None, text)

    def told(self, event: events.Event) -> list[str]:
        """The event as it is written in a file; Content is told with its end."""
        match event:
            case events.Hello(name, esmtp):
                return [f"{'ehlo' if esmtp else 'helo'} {name}"]
            case events.Mail(sender):
                words = ["mail", sender.address or "<>"]
                if event.size is not None:
                    words.append(f"size={event.size}")
                if event.body != "7BIT":
                    words.append(f"body={event.body}")
                if event.smtputf8:
                    words.append("smtputf8")
                words += [f"{name}={getattr(event, name)}" for name in ("ret", "envid") if getattr(event, name)]
                if event.auth is not None:
                    words.append(f"auth=<{event.auth}>")
                if event.wishes is not None:
                    words += [f"{name}={value}" for name, value in event.wishes._asdict().items() if value]
                return [" ".join(words)]
            case events.Rcpt(recipient, notify, orcpt):
                words = ["rcpt", recipient.address]
                if notify:
                    words.append("notify=" + ",".join(sorted(notify)))
                if orcpt:
                    words.append(f"orcpt={orcpt}")
                return [" ".join(words)]
            case events.Data(chunked):
                self.content = b""
                return ["bdat" if chunked else "data"]
            case events.Content(data):
                self.content += data
                return []
            case events.ContentEnd(size, fault):
                content = repr(self.content)[2:-1]
                return [f"content {content}".rstrip(), f"end {size} {fault}" if fault else f"end {size}"]
            case events.Auth(mechanism, initial):
                return [f"auth {mechanism}" if initial is None else f"auth {mechanism} {ascii(initial)[1:]}"]
            case events.AuthResponse(data):
                return [f"response {ascii(data)[1:]}"]
            case _:
                return [type(event).__name__.lower()]


play = SmtpPlayer.play
