"""How long we wait for another server: for each step, and in all."""

from __future__ import annotations

from msgspec import Struct


class Timeouts(Struct, frozen=True):
    """Seconds. A step is over when its answer is complete: octets that trickle in do not prolong it.

    The defaults are those of RFC 5321 section 4.5.3.2, which also says that they should be no shorter; `opening` and
    `envelope` bound what many steps take together, so that a tarpit cannot hold us for ever.
    """

    connect: float = 30.0  # a TCP connection to one address
    handshake: float = 60.0  # TLS
    greeting: float = 300.0
    command: float = 300.0  # EHLO, STARTTLS, AUTH, MAIL, each RCPT
    data: float = 120.0  # the answer to DATA
    block: float = 180.0  # until the server has taken a piece of BLOCK octets
    end: float = 600.0  # the answer to the final dot
    reset: float = 20.0
    quit: float = 2.0  # the message is settled: nobody needs this answer
    opening: float = 900.0  # from the first address tried to the end of AUTH, all hosts together
    envelope: float = 1800.0  # from MAIL to the answer to DATA
    idle: float = 300.0  # a connection older than this takes no other message
    stagger: float = 0.25  # until the next address is tried beside the one before (RFC 8305 section 5)

    def step(self, awaiting: str) -> float:
        """For the answer to this command, as `ClientCore.awaiting` names it."""
        match awaiting:
            case "CONNECT":
                return self.greeting
            case "DATA":
                return self.data
            case "BDAT":
                return self.block
            case "END":
                return self.end
            case "RSET" | "DOT":
                return self.reset
            case "QUIT":
                return self.quit
            case _:
                return self.command


BLOCK = 64 * 1024  # octets of content that are written at once
SLOWEST = 1024  # octets a second: the content of a message may take `end` seconds and one more for each of these
