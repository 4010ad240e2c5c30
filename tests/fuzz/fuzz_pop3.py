"""Fuzz target of the POP3 room: any octets, in any split, end in events or in replies, the same ones in every split.

The first octets of an input choose the state, the answers of the session and the split; the rest is what the client
says. Checked besides: replies are well formed, a message comes out of its dots as it went in.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from driver import main

from pillarbox.pop3 import commands
from pillarbox.pop3.commands import Reply, State
from pillarbox.pop3.core import MAX_RESPONSE, Pop3Core


def run(data: bytes) -> None:
    head, said = data[:4].ljust(4, b"\0"), data[4:]
    whole = converse([said], head[0], head[1])
    step = head[2] % 61 + 1
    assert converse([said[at : at + step] for at in range(0, len(said), step)], head[0], head[1]) == whole
    check_replies(whole[1])


def converse(pieces: list[bytes], kind: int, answers: int) -> tuple[list[commands.Event], bytes, State, bool]:
    core = Pop3Core(
        "pop.example.com",
        tls=bool(kind & 1),
        starttls=bool(kind & 2),
        clear_login=bool(kind & 4),
        mechanisms=("PLAIN",),
    )
    core.greet()
    if kind & 8:
        core.state = State.TRANSACTION
    found: list[commands.Event] = []
    for piece in pieces:
        core.receive(piece)
        while (event := core.next_event()) is not None:
            answer(core, event, bool(answers >> len(found) % 8 & 1))
            found.append(event)
        assert core.buffered <= MAX_RESPONSE or core.closed
    return found, b"".join(core.output()), core.state, core.utf8


def answer(core: Pop3Core, event: commands.Event, no: bool) -> None:
    match event:
        case commands.StartTls():
            assert core.state is State.UPGRADING
        case commands.Auth() | commands.AuthResponse() if no:
            core.challenge(b"go on")
        case commands.Login() | commands.Auth() | commands.AuthResponse() if not no:
            core.logged_in()
        case commands.Command("RETR" | "TOP"):
            core.reply(Reply(True, "follows", content=[b".a\r\n..", b"\r\n."]))
        case commands.Quit():
            core.reply(Reply(not no, "goodbye"))
            assert core.closed
        case _:
            core.reply(Reply(not no, "what you wanted", "" if not no else "SYS/TEMP"))


def check_replies(output: bytes) -> None:
    assert output.endswith(b"\r\n")
    inside = False
    for line in output[:-2].split(b"\r\n"):
        if inside:
            inside = line != b"."
            continue
        assert line.startswith((b"+OK", b"-ERR", b"+ ")), line
        assert line.isascii() and line.decode().isprintable(), line
        inside = line.endswith((b"follow", b"follows"))
    assert not inside


SEEDS = [
    b"\5\0\7\0CAPA\r\nUSER ada\r\nPASS two words\r\nSTAT\r\nLIST\r\nLIST 1\r\nUIDL\r\nRETR 1\r\n"
    b"DELE 1\r\nRSET\r\nQUIT\r\n",
    b"\1\2\3\0AUTH PLAIN\r\nAGFkYQBwdw==\r\nTOP 1 10\r\nNOOP\r\nUTF8\r\nLANG\r\nLANG *\r\nLANG de\r\nQUIT\r\n",
    b"\2\0\1\0STLS\r\nUSER mallory\r\n",
    b"\x09\xff\x11\0RETR 1\r\nRETR 0\r\nTOP 1\r\nDELE 9999999999\r\nAUTH\r\nAUTH PLAIN =\r\n*\r\n",
]
WORDS = [*(verb.encode() for verb in commands.COMMANDS), b" 1", b" 99999999999", b"=", b"*", b"PLAIN", b"\r\nQUIT\r\n"]

if __name__ == "__main__":
    sys.exit(main(run, SEEDS, WORDS))
