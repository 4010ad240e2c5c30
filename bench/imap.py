"""IMAP side by side with Dovecot (Maildir, sdbox, mdbox) and Cyrus: the same messages, the same commands, in turns.

    python bench/imap.py --messages 10000 --rounds 7
    python bench/imap.py --large 500000 --servers pillarbox,sdbox      # SELECT, FLAGS and memory of one large mailbox
    python bench/imap.py --keep --parts reading                        # again with what an earlier --keep left there

Every command goes over TLS, one client, and counts until its last octet was read; the table has the medians of the
rounds and what the best of the others needs in units of ours (over 1: Pillarbox is ahead). `--plain-peers` lets the
others do without TLS. "cold": the server was started again and its files are not in the page cache; "first": nobody has
asked for it since the messages came. Answers are compared: where servers count differently it is said. With `--keep`
the mailboxes stay for the next run, which spares it the minutes of filling them (and the row "first"). Needs root.
"""

from __future__ import annotations

import argparse
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median

from imap_servers import (
    DOMAIN,
    Cyrus,
    Dovecot,
    ImapServer,
    PillarboxImap,
    Subject,
    cyrus_missing,
    drop_from_page_cache,
    wait_settled,
)
from imap_wire import RARE, Lmtp, corpus
from servers import prepare

STRUCTURE = "FETCH 1:* (ENVELOPE BODYSTRUCTURE)"
HEADERS = "FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID REFERENCES)]"
BODIES = "FETCH 1:* BODY.PEEK[]"
LOGIN_THREADS, LOGINS, DELIVERIES, APPENDS, SITTERS = 4, 16, 5, 100, 40
ACCOUNTS = 10 * LOGINS  # that log in, other ones each round
PARTS = ("reading", "changing", "notified", "logins", "cold", "weight")
KEPT = "bench-imap-kept"  # a file in the server's folder: it may start with what is there
RATES = {"logins", "logins, again", "APPEND", "all bodies", "all bodies, cold"}  # more is better; all others: less


class Seen:
    """Figures by row and column, in the order of the rows, and what the answers were."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, list[float]]] = {}
        self.units: dict[str, str] = {}
        self._answers: dict[str, dict[str, int]] = {}

    def add(self, row: str, unit: str, subject: Subject, figure: float) -> None:
        self.units[row] = unit
        self.figures.setdefault(row, {}).setdefault(subject.name, []).append(figure)

    def answer(self, row: str, subject: Subject, count: int) -> None:
        self._answers.setdefault(row, {})[subject.name] = count

    def differences(self) -> list[str]:
        return [f"{row}: {counts}" for row, counts in self._answers.items() if len(set(counts.values())) > 1]

    def table(self, names: list[str]) -> str:
        lines = [f"| row | {' | '.join(names)} | best other to ours |", "|---" * (len(names) + 2) + "|"]
        for row, figures in self.figures.items():
            medians = {name: median(figures[name]) for name in names if name in figures}
            cells = [f"{medians[name]:.3g}" if name in medians else "—" for name in names]
            ours = medians.pop("pillarbox", 0.0)
            ratio = ""
            if medians and ours:
                better = ours / max(medians.values()) if row in RATES else min(medians.values()) / ours
                ratio = f"{better:.2f}"
            lines.append(f"| {row}, {self.units[row]} | {' | '.join(cells)} | {ratio} |")
        return "\n".join(lines)


def load(subject: Subject, mailbox: str, count: int, octets: int, together: int) -> bool:
    """Put so many messages into a mailbox, a number of them in one APPEND; False when they were there.

    Raises ValueError when others are there.
    """
    begin, wire = time.monotonic(), subject.login()
    listed = wire.do(f'LIST "" {mailbox}')
    if b"* LIST" not in listed:
        wire.do(f"CREATE {mailbox}")
    there = re.search(rb"MESSAGES (\d+)", wire.do(f"STATUS {mailbox} (MESSAGES)"))
    if there is None or int(there[1]) not in (0, count):
        raise ValueError(f"{subject.name} was kept with other messages: run without --keep")
    if int(there[1]):
        return False
    messages = corpus(count, octets)
    while some := list(islice(messages, together)):
        wire.append(mailbox, some)
    wire.close()
    print(f"{subject.name}: {count:,} messages in {time.monotonic() - begin:.1f} s", flush=True)
    return True


def restart(subjects: list[Subject], *, cold: bool) -> None:
    """Each server of these is stopped, its files leave the page cache (`cold`), and it starts again."""
    for server in {id(s.server): s.server for s in subjects}.values():
        server.stop()
        if cold:
            drop_from_page_cache(server.home)
        server.start(fresh=False)


def fetches(seen: Seen, subject: Subject, note: str, rows: dict[str, str]) -> None:
    """One FETCH a row on a mailbox just selected; bodies count in MB a second."""
    wire = subject.login()
    wire.do("SELECT INBOX")
    for row, command in rows.items():
        seconds, answer, octets = wire.timed(command, keep=command != BODIES)
        if command == BODIES:
            seen.add(row + note, "MB/s", subject, octets / seconds / 1e6)
        else:
            seen.add(row + note, "ms", subject, seconds * 1000)
            seen.answer(row + note, subject, len(re.findall(rb"(?:\A|\r\n)\* \d+ FETCH ", answer)))
    wire.close()


def reading(seen: Seen, subject: Subject, turn: int) -> None:
    """SELECT, FETCH, SEARCH on INBOX, warm."""
    wire = subject.login()
    wire.do("SELECT INBOX")
    times = []
    for _ in range(200):  # it takes a tenth of a millisecond, of which a few say little
        wire.do("UNSELECT")
        times.append(wire.timed("SELECT INBOX")[0])
    seen.add("SELECT", "ms", subject, median(times) * 1000)
    wire.close()
    warm = {"FLAGS UID SIZE": "FETCH 1:* (FLAGS UID RFC822.SIZE)", "ENVELOPE BODYSTRUCTURE": STRUCTURE}
    fetches(seen, subject, "", warm | {"header fields": HEADERS, "all bodies": BODIES})
    wire = subject.login()
    wire.do("SELECT INBOX")
    word = RARE[turn % len(RARE)]
    for key in ("SUBJECT", "BODY", "TEXT"):
        seconds, answer, _ = wire.timed(f"SEARCH {key} {word}")
        seen.add(f"SEARCH {key}", "ms", subject, seconds * 1000)
        found = re.search(rb"\* SEARCH([ \d]*)\r\n", answer)
        seen.answer(f"SEARCH {key} {word}", subject, len(found[1].split()) if found else 0)
    wire.close()


def changing(seen: Seen, subject: Subject) -> None:
    """COPY, STORE, MOVE and EXPUNGE on copies of all messages, gone in the end; 20 are expunged one by one."""
    wire = subject.login()

    def ms(row: str, command: str) -> None:
        seen.add(row, "ms", subject, wire.timed(command)[0] * 1000)

    wire.do("CREATE Work")
    wire.do("CREATE Work2")
    wire.do("SELECT INBOX")
    ms("COPY of all", "COPY 1:* Work")
    wire.do("SELECT Work")
    ms("STORE of all", "STORE 1:* +FLAGS.SILENT (\\Flagged)")
    ones = [wire.timed(f"STORE {n} +FLAGS (\\Seen)")[0] for n in range(1, 41)]  # nobody has seen the copies
    seen.add("STORE of one", "ms", subject, median(ones) * 1000)
    ones = []
    for _ in range(20):
        wire.do("STORE 7 +FLAGS.SILENT (\\Deleted)")
        ones.append(wire.timed("EXPUNGE")[0])
    seen.add("EXPUNGE of one", "ms", subject, median(ones) * 1000)
    ms("MOVE of all", "MOVE 1:* Work2")
    wire.do("SELECT Work2")
    wire.do("STORE 1:* +FLAGS.SILENT (\\Deleted)")
    ms("EXPUNGE of all", "EXPUNGE")
    wire.do("UNSELECT")
    messages = list(corpus(APPENDS))
    seconds = sum(wire.append("Work", [message]) for message in messages)
    seen.add("APPEND", "a second", subject, len(messages) / seconds)
    wire.do("DELETE Work")
    wire.do("DELETE Work2")
    wire.close()


def notified(seen: Seen, subject: Subject) -> None:
    """A delivery by LMTP, seen by a client in IDLE: from the 250."""
    wire, lmtp = subject.login(subject.waiter), Lmtp(subject.server.lmtp)
    wire.do("SELECT INBOX")
    for message in corpus(DELIVERIES, 2000):
        wire.idle()
        told: list[float] = []
        thread = threading.Thread(target=lambda told=told: told.append(wire.exists()))
        thread.start()
        accepted = lmtp.deliver(subject.waiter, message)
        thread.join(60)
        seen.add("IDLE notification", "ms after the 250", subject, max(0.0, told[0] - accepted) * 1000)
        wire.done()
    lmtp.close()
    wire.close()


def logins(seen: Seen, subject: Subject, turn: int) -> None:
    """Accounts that nobody has logged in to for a while, some at the same time; then the same ones again."""
    names = [f"l{(turn * LOGINS + n) % ACCOUNTS}@{DOMAIN}" for n in range(LOGINS)]

    def some(part: int, times: int) -> None:
        for _ in range(times):
            for name in names[part::LOGIN_THREADS]:
                wire = subject.login(name)
                wire.do("LOGOUT")
                wire.close()

    for row, times in (("logins", 1), ("logins, again", 10)):
        threads = [threading.Thread(target=some, args=(part, times)) for part in range(LOGIN_THREADS)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen.add(row, "a second", subject, LOGINS * times / (time.perf_counter() - begin))


def weight(seen: Seen, subject: Subject) -> None:
    """What a session in IDLE weighs that has the mailbox selected."""
    time.sleep(3)
    before = subject.server.pss()
    sitting = [subject.login() for _ in range(SITTERS)]
    for wire in sitting:
        wire.do("SELECT INBOX")
        wire.idle()
    time.sleep(1)
    seen.add("an idle session", "KB", subject, (subject.server.pss() - before) * 1048.576 / SITTERS)
    for wire in sitting:
        wire.close()


def compare(subjects: list[Subject], messages: int, rounds: int, parts: list[str]) -> Seen:
    """All rows but those of the large mailbox."""
    seen = Seen()
    for subject in subjects:
        if load(subject, "INBOX", messages, 29_000, 50):
            wait_settled(subject.server)
            fetches(seen, subject, ", first", {"ENVELOPE BODYSTRUCTURE": STRUCTURE})
    for turn in range(rounds):
        for subject in subjects:
            if "reading" in parts:
                reading(seen, subject, turn)
            if "changing" in parts:
                changing(seen, subject)
            if "notified" in parts:
                notified(seen, subject)
        if "logins" in parts:  # not a matter of the format: Dovecot's are in its first column
            for subject in {s.server.name: s for s in reversed(subjects) if s.logins}.values():
                logins(seen, subject, turn)
        print(f"round {turn + 1} of {rounds}", flush=True)
    for row, command in {"ENVELOPE BODYSTRUCTURE": STRUCTURE, "all bodies": BODIES}.items():
        for _ in range(min(rounds, 3) if "cold" in parts else 0):
            restart(subjects, cold=True)
            for subject in subjects:
                fetches(seen, subject, ", cold", {row: command})
    if "weight" in parts:
        for subject in subjects:
            weight(seen, subject)
    return seen


def large(subjects: list[Subject], messages: int, rounds: int) -> Seen:
    """One mailbox with very many small messages."""
    seen = Seen()
    for subject in subjects:
        if load(subject, "Large", messages, 1000, 500):
            wait_settled(subject.server, 3600)
    for turn in range(rounds):
        for note, cold in ((", cold", True), (", the first", False)) if turn == 0 else ((", the first", False),):
            restart(subjects, cold=cold)
            time.sleep(2)
            for subject in subjects:
                wire, before = subject.login(), subject.server.pss()
                seen.add(f"SELECT{note}", "ms", subject, wire.timed("SELECT Large")[0] * 1000)
                seconds, _, _ = wire.timed(f"UID FETCH {messages - 9}:* (FLAGS)")
                seen.add(f"FLAGS of the last ten{note}", "ms", subject, seconds * 1000)
                if not cold:
                    seen.add("memory of the first session", "KB", subject, (subject.server.pss() - before) * 1048.576)
                wire.close()
        for subject in subjects:
            wire = subject.login()
            wire.do("SELECT Large")
            wire.do("UNSELECT")
            seen.add("SELECT, again", "ms", subject, wire.timed("SELECT Large")[0] * 1000)
            seconds, _, _ = wire.timed("FETCH 1:* (FLAGS UID RFC822.SIZE)", keep=False)
            seen.add("FLAGS UID SIZE", "ms", subject, seconds * 1000)
            ones = [wire.timed(f"STORE {n} {'+-'[turn % 2]}FLAGS (\\Seen)")[0] for n in range(1, 11)]
            seen.add("STORE of one", "ms", subject, median(ones) * 1000)
            wire.close()
    return seen


@contextmanager
def running(wanted: list[str], *, keep: bool, plain_peers: bool) -> Iterator[list[Subject]]:
    """The columns that were asked for, their servers up; with what they had if that is to be kept."""
    ours = PillarboxImap(ACCOUNTS)
    started: list[ImapServer] = []

    def up(server: ImapServer) -> ImapServer:
        started.append(server)
        kept = server.home / KEPT
        server.start(fresh=not (keep and kept.exists()))
        if keep:
            kept.touch()
        return server

    try:
        up(ours)
        context: Callable[[], ssl.SSLContext | None] = lambda: None if plain_peers else ours.context  # noqa: E731
        subjects = [Subject("pillarbox", ours, f"pb@{DOMAIN}", ours.context)]
        certificates = Path(ours.data)
        if formats := [name for name in Dovecot.formats if name in wanted]:
            dovecot = up(Dovecot(13993, 13024, ACCOUNTS, certificates))
            subjects += [Subject(name, dovecot, f"{name}@{DOMAIN}", context()) for name in formats]
        if "cyrus" in wanted:
            if missing := cyrus_missing():
                print(f"without Cyrus: {missing}")
            else:
                cyrus = up(Cyrus(13893, 13025, ACCOUNTS, certificates))
                subjects.append(Subject("cyrus", cyrus, f"cy@{DOMAIN}", context(), logins=False))
        for subject in subjects:
            if subject.context is None:
                subject.server.imaps += 1  # its port without TLS
        yield subjects if "pillarbox" in wanted else subjects[1:]
    finally:
        for server in started:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", type=int, default=0, help="only one mailbox of so many small messages")
    parser.add_argument("--servers", default="pillarbox,maildir,sdbox,mdbox,cyrus")
    parser.add_argument("--parts", default=",".join(PARTS), help="only these parts of the comparison")
    parser.add_argument("--keep", action="store_true", help="begin with the mailboxes that the last such run has left")
    parser.add_argument("--plain-peers", action="store_true", help="the others without TLS")
    options = parser.parse_args()
    prepare()
    with running(options.servers.split(","), keep=options.keep, plain_peers=options.plain_peers) as subjects:
        if options.large:
            seen = large(subjects, options.large, options.rounds)
        else:
            seen = compare(subjects, options.messages, options.rounds, options.parts.split(","))
        names = [subject.name for subject in subjects]
    print(seen.table(names))
    for difference in seen.differences():
        print(f"answers differ: {difference}")


if __name__ == "__main__":
    main()
