"""`pillarbox import imap` pulls an account from a real Dovecot, again and again until the cut-over; and Dovecot opens
what `pillarbox export maildir` writes.
"""

from __future__ import annotations

import contextlib
import imaplib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecot import MAIL_USER, PASSWORD, Dovecot, imap_programs
from peer_settings import DOVECOT
from pillarbox.store import check_store
from self_signed import self_signed

pytestmark = pytest.mark.skipif(
    not Path(DOVECOT).exists() or os.geteuid() != 0, reason="Dovecot is not installed, or the test is not root"
)

ADA = "ada@example.com"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("certificate"), "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return imap_programs(tmp_path_factory.mktemp("dovecot"))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("dovecot-imapd is neither installed nor to be fetched")


@pytest.fixture(params=["/", "."])
def old(request: pytest.FixtureRequest, programs: Path, pair: tuple[Path, Path]) -> Iterator[Dovecot]:
    """With levels as in a file system, and as Courier has it: all below `INBOX.`."""
    prefix = "INBOX." if request.param == "." else ""
    server = Dovecot(programs, *pair, separator=request.param, prefix=prefix)
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    database = tmp_path / "smtp.db"

    def call(*argv: object, stdin: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pillarbox.cli.pillarbox", *map(str, argv)],
            input=stdin, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "SMTP_DB_PATH": str(database)},
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    assert call("user", "add", ADA, stdin="correct horse\n")[0] == 0
    yield call
    assert check_store(database) == []


def client(old: Dovecot) -> imaplib.IMAP4:
    session = imaplib.IMAP4("127.0.0.1", old.imap)
    session.login("ada@old.test", PASSWORD)
    return session


def raw(subject: str, body: str = "text\r\n") -> bytes:
    return f"From: a@example.org\r\nSubject: {subject}\r\n\r\n{body}".encode()


def name_of(old: Dovecot, *levels: str) -> str:
    plain = "INBOX." not in (old.folder / "dovecot.conf").read_text()
    return '"' + ("/".join(levels) if plain else ".".join(("INBOX", *levels))) + '"'


def fill(old: Dovecot) -> None:
    with client(old) as session:
        for number in range(300):
            flags = ("", r"\Seen", r"\Seen \Answered $Work", r"\Flagged")[number % 4]
            date = f'"{number % 28 + 1:02}-Jan-2024 10:00:00 +0100"'
            assert session.append("INBOX", flags, date, raw(f"m{number}", "x" * number + "\r\n"))[0] == "OK"
        assert session.append("INBOX", "", None, raw("large", "y" * 1_000_000 + "\r\n"))[0] == "OK"
        session.select("INBOX")
        session.uid("STORE", "3,5,7:20", "+FLAGS", r"\Deleted")
        session.expunge()
        session.create(name_of(old, "Projekte", "T&APY-ne"))
        for _ in range(2):  # the same octets twice are two messages
            session.append(name_of(old, "Projekte", "T&APY-ne"), "", None, raw("twin"))
        session.create(name_of(old, "2024"))
        session.subscribe(name_of(old, "2024"))
        session.append(name_of(old, "Sent Messages"), r"\Seen", None, raw("sent"))


def pull(run: Run, old: Dovecot, *options: object) -> Any:
    common = ("--host", "127.0.0.1", "--port", old.imap, "--tls", "none", "--login", "ada@old.test")
    status, out, err = run(
        "import", "imap", ADA, *common, "--password-stdin", "--json", *options, stdin=PASSWORD + "\n"
    )
    assert status == 0, err + out + old.log()
    return json.loads(out)


def boxes(run: Run) -> dict[str, Any]:
    status, out, err = run("mailbox", "list", ADA, "--json")
    assert status == 0, err
    return {box["name"]: box for box in json.loads(out)}


def listing(old: Dovecot, folder: str) -> tuple[int, dict[int, bytes]]:
    """UIDVALIDITY, and the octets by UID."""
    with client(old) as session:
        session.select(folder, readonly=True)
        (validity,) = session.response("UIDVALIDITY")[1]
        data = session.uid("FETCH", "1:*", "(BODY.PEEK[])")[1]
        found = {}
        for item in data:
            if isinstance(item, tuple):
                words = item[0].replace(b"(", b" ").split()
                found[int(words[words.index(b"UID") + 1])] = item[1]
        return int(validity), found


def test_all_of_it_then_what_changed(run: Run, old: Dovecot, tmp_path: Path) -> None:
    fill(old)
    done = pull(run, old)
    assert (done["found"], done["stored"], done["known"]) == (288, 288, 0)
    assert done["problems"] == []
    here = boxes(run)
    assert {name: here[name]["messages"] for name in ("INBOX", "Projekte/Töne", "2024", "Sent")} == {
        "INBOX": 285, "Projekte/Töne": 2, "2024": 0, "Sent": 1,
    }  # fmt: skip
    assert here["2024"]["subscribed"]
    validity, there = listing(old, "INBOX")
    assert here["INBOX"]["uidvalidity"] == validity
    assert exported(run, tmp_path / "first") == there
    again = pull(run, old)
    assert (again["stored"], again["known"], again["flags_changed"]) == (0, 288, 0)
    # The old server goes on: new mail, flags, expunges.
    with client(old) as session:
        session.append("INBOX", r"\Seen", None, raw("late"))
        session.select("INBOX")
        session.uid("STORE", "1:2", "+FLAGS", r"(\Answered $Late)")
        session.uid("STORE", "30", "+FLAGS", r"\Deleted")
        session.expunge()
    delta = pull(run, old)
    assert (delta["stored"], delta["flags_changed"], delta["removed"]) == (1, 2, 0)
    last = pull(run, old, "--expunge")
    assert (last["stored"], last["flags_changed"], last["removed"]) == (0, 0, 1)
    _, there = listing(old, "INBOX")
    assert exported(run, tmp_path / "last") == there
    assert boxes(run)["INBOX"]["uidvalidity"] == validity


def exported(run: Run, folder: Path) -> dict[int, bytes]:
    """Octets by UID of INBOX here, by way of a Maildir."""
    status, _, err = run("export", "maildir", ADA, folder, "--mailbox", "INBOX")
    assert status == 0, err
    lines = (folder / "dovecot-uidlist").read_text().splitlines()[1:]
    names = {line.split(" :", 1)[1]: int(line.split()[0]) for line in lines}
    found = {}
    for path in (folder / "cur").iterdir():
        found[names[path.name.partition(":2,")[0]]] = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return found


def test_both_sides_give_uids(run: Run, old: Dovecot, tmp_path: Path) -> None:
    with client(old) as session:
        session.append("INBOX", "", None, raw("one"))
    pull(run, old)
    before = boxes(run)["INBOX"]
    (tmp_path / "INBOX.mbox").write_bytes(b"From a Fri Jan  5 10:00:00 2024\n" + raw("here") + b"\n")
    assert run("import", "mbox", ADA, tmp_path / "INBOX.mbox")[0] == 0
    with client(old) as session:
        session.append("INBOX", "", None, raw("two"))
    done = pull(run, old)
    after = boxes(run)["INBOX"]
    assert (done["stored"], after["messages"]) == (1, 3)
    assert after["uidvalidity"] != before["uidvalidity"]
    assert pull(run, old)["stored"] == 0


class Cutting:
    """Passes octets on between a client and the old server, and cuts its first connections after so many."""

    def __init__(self, target: int, *limits: int) -> None:
        self._target, self._limits = target, list(limits)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._sockets = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            limit = self._limits.pop(0) if self._limits else 1 << 40
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, 1 << 40), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, limit), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, limit: int) -> None:
        with contextlib.suppress(OSError):
            while limit > 0 and (data := source.recv(65536)):
                target.sendall(data[:limit])
                limit -= len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_connections_that_break(run: Run, old: Dovecot, tmp_path: Path) -> None:
    fill(old)
    # Each time it waits twice as long before it connects again: three times are enough for one of the two.
    places = (30_000, 90_000, 200_000) if name_of(old, "x") == '"x"' else (120_000,)
    cutting = Cutting(old.imap, *places)
    done = pull(run, old, "--port", cutting.port)
    cutting.close()
    assert cutting.connections == len(places) + 1
    assert (done["found"], done["stored"], done["known"], done["problems"]) == (288, 288, 0, [])
    assert exported(run, tmp_path / "out") == listing(old, "INBOX")[1]


@pytest.mark.parametrize("old", ["/"], indirect=True)
def test_tls_wrong_passwords_and_the_master_user(run: Run, old: Dovecot, pair: tuple[Path, Path]) -> None:
    with client(old) as session:
        session.append("INBOX", "", None, raw("one"))
    common = ("import", "imap", ADA, "--host", "localhost", "--login", "ada@old.test", "--password-stdin")
    secret = PASSWORD + "\n"
    status, _, err = run(*common, "--port", old.imaps, stdin=secret)
    assert status == 1
    assert "certificate of localhost is not trusted" in err
    assert run(*common, "--port", old.imaps, "--ca", pair[0], stdin=secret)[0] == 0
    assert run(*common, "--port", old.imap, "--tls", "starttls", "--ca", pair[0], stdin=secret)[0] == 0
    status, _, err = run(*common, "--port", old.imaps, "--no-verify", stdin="wrong\n")
    assert status == 1
    assert "uthentication" in err
    assert PASSWORD not in err
    master = ("--login", "master", "--as", "ada@old.test", "--host", "localhost", "--port", old.imaps, "--no-verify")
    status, out, err = run("import", "imap", ADA, *master, "--password-stdin", stdin="of all\n")
    assert status == 0, err
    assert "1 messages found" in out


def test_dovecot_opens_what_is_exported(run: Run, old: Dovecot) -> None:
    fill(old)
    validity, there = listing(old, "INBOX")
    pull(run, old)
    old.stop()
    subprocess.run(["rm", "-rf", str(old.maildir)], check=True)
    status, _, err = run("export", "maildir", ADA, old.maildir)
    assert status == 0, err
    subprocess.run(["chown", "-R", MAIL_USER, str(old.maildir)], check=True)
    old.start()
    assert listing(old, "INBOX") == (validity, there)
    with client(old) as session:
        session.select("INBOX")
        flags = session.uid("FETCH", "21:24", "(FLAGS)")[1]
    assert [sorted(imaplib.ParseFlags(line)) for line in flags] == [
        [], [rb"\Seen"], [b"$Work", rb"\Answered", rb"\Seen"], [rb"\Flagged"],
    ]  # fmt: skip
