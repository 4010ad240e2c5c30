"""Owners of mailboxes that remember what they were told: APPEND, MOVE, COPY and EXPUNGE while the server is killed.

Each owner is a process with messages of its own, which name themselves. Before each command it writes to a pipe what
the command will change, and after the tagged OK that it was done.
"""

from __future__ import annotations

import contextlib
import imaplib
import json
import multiprocessing
import os
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

from crash.load import message
from running import Running

PLACES = ("Archive", "Trash", "Junk")


@dataclass
class Known:
    """Where an owner's messages are: `settled` by name, and what the command in flight would make of it."""

    settled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    in_doubt: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def take(self, line: str) -> None:
        if line == "done":
            self.settled |= self.in_doubt
            self.in_doubt = {}
        elif line == "no":
            self.in_doubt = {}
        else:
            self.in_doubt = {name: tuple(places) for name, places in json.loads(line).items()}


class Owner:
    """One process that works on mailboxes until it is told to stop or the server goes away."""

    def __init__(self, number: int, server: Running, known: Known) -> None:
        self._stop = multiprocessing.Event()
        read, write = os.pipe()
        self._notes, self._known = read, known
        arguments = (number, server, known, write, self._stop)
        self._process = multiprocessing.get_context("fork").Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        os.close(write)

    def stop(self) -> Known:
        """What is known of the owner's messages now."""
        self._stop.set()
        with os.fdopen(self._notes) as pipe:
            for line in pipe:
                if line.endswith("\n"):
                    self._known.take(line.strip())
        self._process.join(30)
        return self._known


def _work(number: int, server: Running, known: Known, notes: int, stop: Any) -> None:
    chance = random.Random(f"{number} {os.getpid()} {time.time()}")
    with contextlib.suppress(OSError, imaplib.IMAP4.error):
        client = server.imap(number % len(server.accounts))
        for _ in range(1000):  # what is written must fit into the pipe
            if stop.is_set():
                break
            _step(client, number, known, chance, notes)


def _step(client: imaplib.IMAP4, number: int, known: Known, chance: random.Random, notes: int) -> None:
    if chance.random() < 0.4 or len(known.settled) < 5:
        name, place = f"o-{number}-{chance.getrandbits(60):x}", chance.choice(PLACES)
        _note(known, notes, {name: (place,)})
        _done(known, notes, client.append(place, None, None, message(name)))
        return
    source = chance.choice(PLACES)
    mine = [name for name, places in known.settled.items() if source in places and len(places) == 1]
    if not mine:
        return
    client.select(source)
    some = chance.sample(mine, min(len(mine), chance.choice((1, 3, 50))))
    uids = _uids(client, some)
    target = chance.choice([place for place in PLACES if place != source])
    match chance.choice(("MOVE", "COPY", "EXPUNGE")):
        case "MOVE":
            _note(known, notes, dict.fromkeys(some, (target,)))
            _done(known, notes, client.uid("MOVE", uids, target))
        case "COPY":
            _note(known, notes, dict.fromkeys(some, (source, target)))
            _done(known, notes, client.uid("COPY", uids, target))
        case _:
            client.uid("STORE", uids, "+FLAGS.SILENT", "(\\Deleted)")
            _note(known, notes, dict.fromkeys(some, ()))
            _done(known, notes, client.uid("EXPUNGE", uids))


def _note(known: Known, notes: int, changes: dict[str, tuple[str, ...]]) -> None:
    line = json.dumps(changes)
    known.take(line)
    os.write(notes, f"{line}\n".encode())


def _done(known: Known, notes: int, answer: tuple[str, Any]) -> None:
    word = "done" if answer[0] == "OK" else "no"
    known.take(word)
    os.write(notes, f"{word}\n".encode())


def _uids(client: imaplib.IMAP4, names: list[str]) -> str:
    found = subjects(client)
    return ",".join(str(uid) for uid, name in found.items() if name in names)


def subjects(client: imaplib.IMAP4) -> dict[int, str]:
    """Names of the messages of the open mailbox by UID."""
    _, data = client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    pairs = (item for item in data if isinstance(item, tuple))
    return {
        int(re.search(rb"UID (\d+)", head)[1]): text.decode().split(":", 1)[1].strip()  # type: ignore[index]
        for head, text in pairs
    }
