r"""Plays conversations written in a text file against `Pop3Core`.

== A title begins a conversation
= plain starttls clear state=transaction auth=PLAIN,SCRAM-SHA-256      options
C: STAT                        the client says this and CRLF
C> raw \r\n octets\x00         the client sends exactly these octets (Python's escapes)
S: +OK 2 320                   the server answered this line; all that it said must be written
E: STAT                        this event came
A stat: +OK 2 320              the next event of this kind is answered so, others with +OK
A retr: +OK text | line | ...  ... or with content
A auth: + challenge            ... or with a challenge
TLS                            the session has done the handshake
CLOSED                         the core has ended the conversation
"""

from typing import Any

from dialogues.player import Player
from pillarbox.pop3.commands import Auth, AuthResponse, Command, Login, Quit, Reply, StartTls, State
from pillarbox.pop3.core import Pop3Core


class Pop3Player(Player):
    @classmethod
    def core_of(cls, options: list[str]) -> Pop3Core:
        """TLS is on unless `plain` is among the options."""
        words = dict(option.partition("=")[::2] for option in options)
        core = Pop3Core(
            "pop.example.com",
            tls="plain" not in words,
            starttls="starttls" in words,
            clear_login="clear" in words,
            mechanisms=words.get("auth", "PLAIN,LOGIN").split(","),
        )
        core.greet()
        core.state = State[words.get("state", "authorization").upper()]
        return core

    def drain(self) -> None:
        while (event := self.core.next_event()) is not None:
            self.events.append(told(event))
            if not isinstance(event, StartTls):
                self.answer(event)
        self.said += b"".join(self.core.output()).decode().split("\r\n")[:-1]

    def answer(self, event: Any) -> None:
        kind = told(event).split()[0].lower()
        planned = next((at for at, (wanted, _) in enumerate(self.answers) if wanted == kind), None)
        if planned is not None:
            status, _, text = self.answers.pop(planned)[1].partition(" ")
            if status == "+":
                self.core.challenge(text.encode())
                return
            text, *lines = text.split(" | ")
            content = ["".join(f"{line}\r\n" for line in lines).encode()] if lines else None
            self.core.reply(Reply(status == "+OK", text, content=content))
        elif isinstance(event, Login | Auth | AuthResponse):
            self.core.logged_in()
        else:
            self.core.reply(Reply(True))


def told(event: Any) -> str:
    match event:
        case Login(username, password):
            return f"LOGIN {username} {password}"
        case Auth(mechanism, initial):
            return f"AUTH {mechanism}" + ("" if initial is None else f" {ascii(initial)[1:]}")
        case AuthResponse(data):
            return "RESPONSE cancelled" if data is None else f"RESPONSE {ascii(data)[1:]}"
        case Command(verb, args):
            return " ".join((verb, *map(str, args)))
        case Quit(update):
            return "QUIT update" if update else "QUIT"
        case _:
            return type(event).__name__.upper()


play = Pop3Player.play
