"""Programs that people use keep an account: isync, offlineimap, getmail, neomutt, alpine; fetchmail and curl by POP3.

Each test has an account to itself.
"""

import imaplib
import re
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager

import pytest

PASSWORD = "a long enough secret"


def program(*names: str):
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*argv: str, ok: tuple[int, ...] = (0,), **options) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False, **options)
    assert done.returncode in ok, f"{argv[0]} ended with {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


class Account:
    """An account of the running server, seen by imaplib."""

    def __init__(self, server, name):
        self.server, self.name = server, name

    @contextmanager
    def imap(self, mailbox="INBOX"):
        with imaplib.IMAP4_SSL("localhost", self.server.ports["imaps"], ssl_context=self.server.tls()) as client:
            client.login(self.name, PASSWORD)
            assert client.select(mailbox)[0] == "OK"
            yield client

    def put(self, *subjects, mailbox="INBOX", flags=""):
        with self.imap(mailbox) as client:
            for subject in subjects:
                text = f"From: sender@elsewhere.test\r\nTo: {self.name}\r\nSubject: {subject}\r\n"
                text += f"Date: Mon, 7 Feb 2022 21:52:25 -0800\r\nMessage-ID: <{uuid.uuid4()}@elsewhere.test>\r\n\r\n"
                assert client.append(mailbox, flags, None, f"{text}body of {subject}\r\n".encode())[0] == "OK"

    def change(self, subject, flags, mailbox="INBOX", sign="+"):
        """Flags of the one message of this subject; with \\Deleted it is expunged."""
        with self.imap(mailbox) as client:
            (number,) = client.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
            assert client.store(number, f"{sign}FLAGS", f"({flags})")[0] == "OK"
            if "\\Deleted" in flags:
                client.expunge()

    def flags(self, mailbox="INBOX") -> dict[str, set[str]]:
        """Flags by subject; no subject is there twice."""
        found: dict[str, set[str]] = {}
        with self.imap(mailbox) as client:
            for item in client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
                if isinstance(item, tuple):
                    subject = item[1].decode().removeprefix("Subject: ").strip()
                    assert subject not in found, "it is there twice"
                    flags = re.search(rb"FLAGS \(([^)]*)\)", item[0])[1].decode().split()
                    found[subject] = set(flags) - {"\\Recent"}
        return found


@pytest.fixture
def account(server):
    domain = server.accounts[0][0].partition("@")[2]
    name = f"u{uuid.uuid4().hex[:10]}@{domain}"
    words = ("user", "add", name, "--password-stdin", "--db", str(server.data / "smtp.db"))
    run(sys.executable, "-m", "pillarbox.cli.pillarbox", *words, input=PASSWORD + "\n")
    return Account(server, name)


class Maildir:
    """The side of a program that keeps mail in a Maildir."""

    def __init__(self, path):
        self.path = path

    def flags(self) -> dict[str, str]:
        """Letters of the info part by subject; no subject is there twice."""
        found: dict[str, str] = {}
        for path in [*self.path.glob("cur/*"), *self.path.glob("new/*")]:
            subject = _subject(path)
            assert subject not in found, "it is there twice"
            found[subject] = path.name.partition(":2,")[2]
        return found

    def change(self, subject, letters):
        (path,) = (p for p in [*self.path.glob("cur/*"), *self.path.glob("new/*")] if _subject(p) == subject)
        path.rename(self.path / "cur" / f"{path.name.partition(':2,')[0]}:2,{letters}")

    def remove(self, subject):
        (path,) = (p for p in [*self.path.glob("cur/*"), *self.path.glob("new/*")] if _subject(p) == subject)
        path.unlink()

    def put(self, subject, letters=""):
        (self.path / "cur" / f"{time.time_ns()}.1.here:2,{letters}").write_text(f"Subject: {subject}\n\nfiled here\n")


def _subject(path) -> str:
    return re.search(r"^Subject: (.*)$", path.read_text(errors="replace"), re.M)[1].strip()


@program("mbsync")
def test_isync_both_ways_with_changes_on_both_sides(account, tmp_path):
    account.put("both flagged", "gone here", "gone there", "gone on both", "kept", "flagged here, lost there")
    (tmp_path / "mail").mkdir()
    (tmp_path / "rc").write_text(f"""\
IMAPStore far
Host localhost
Port {account.server.ports["imaps"]}
User {account.name}
Pass "{PASSWORD}"
SSLType IMAPS
CertificateFile {account.server.ready["ca"]}

MaildirStore near
Path {tmp_path}/mail/
Inbox {tmp_path}/mail/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX Archive
Create Near
Expunge Both
SyncState *
Sync All
""")
    sync = ("mbsync", "-c", str(tmp_path / "rc"), "-a")
    run(*sync)
    near = Maildir(tmp_path / "mail" / "INBOX")
    assert set(near.flags()) == set(account.flags())
    # Both sides change, the same messages too, before they meet again.
    near.change("both flagged", "S")
    account.change("both flagged", "\\Flagged")
    near.change("gone here", "T")
    account.change("gone here", "\\Answered")
    account.change("gone there", "\\Deleted")
    near.change("gone on both", "T")
    account.change("gone on both", "\\Deleted")
    near.change("flagged here, lost there", "F")
    account.change("flagged here, lost there", "\\Deleted")
    near.put("new here", "S")
    account.put("new there", flags="\\Flagged")
    run(*sync)
    run(*sync)  # and nothing more happens
    expected = {
        "both flagged": {"\\Seen", "\\Flagged"},
        "kept": set(),
        "new here": {"\\Seen"},
        "new there": {"\\Flagged"},
    }
    assert account.flags() == expected
    letters = {"\\Seen": "S", "\\Flagged": "F"}
    assert {s: set(f) for s, f in near.flags().items()} == {s: {letters[f] for f in v} for s, v in expected.items()}


@program("offlineimap")
def test_offlineimap_both_ways(account, tmp_path):
    account.put("one", "two", "three")
    (tmp_path / "rc").write_text(f"""\
[general]
accounts = mine
metadata = {tmp_path}/state
ui = basic

[Account mine]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {tmp_path}/mail

[Repository far]
type = IMAP
remotehost = localhost
remoteport = {account.server.ports["imaps"]}
remoteuser = {account.name}
remotepass = {PASSWORD}
ssl = yes
sslcacertfile = {account.server.ready["ca"]}
folderfilter = lambda name: name in ("INBOX", "Archive")
""")
    sync = ("offlineimap", "-c", str(tmp_path / "rc"), "-o", "-1")
    run(*sync)
    near, archive = Maildir(tmp_path / "mail" / "INBOX"), Maildir(tmp_path / "mail" / "Archive")
    assert set(near.flags()) == {"one", "two", "three"}
    near.change("one", "S")
    account.change("one", "\\Answered")
    near.remove("two")
    account.change("three", "\\Deleted")
    archive.put("filed", "S")
    account.put("four")
    run(*sync)
    run(*sync)
    assert account.flags() == {"one": {"\\Seen", "\\Answered"}, "four": set()}
    assert account.flags("Archive") == {"filed": {"\\Seen"}}
    assert set(near.flags()) == {"one", "four"}
    assert set(near.flags()["one"]) == {"R", "S"}


@program("getmail")
@pytest.mark.parametrize("protocol", ["IMAP", "POP3"])
def test_getmail_takes_what_is_new(account, tmp_path, protocol):
    account.put("first", "second")
    for name in ("cur", "new", "tmp"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    (tmp_path / "rc").write_text(f"""\
[retriever]
type = Simple{protocol}SSLRetriever
server = localhost
port = {account.server.ports[protocol.lower() + "s"]}
username = {account.name}
password = {PASSWORD}
ca_certs = {account.server.ready["ca"]}

[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > {tmp_path}/mail/new/$$")
allow_root_commands = true

[options]
read_all = false
delete = false
""")
    take = ("getmail", "--getmaildir", str(tmp_path), "--rcfile", str(tmp_path / "rc"))
    near = Maildir(tmp_path / "mail")
    run(*take)
    assert set(near.flags()) == {"first", "second"}
    run(*take)
    account.put("third")
    run(*take)
    assert set(near.flags()) == {"first", "second", "third"}
    assert set(account.flags()) == {"first", "second", "third"}


@program("fetchmail")
@pytest.mark.parametrize("way", ["pop3s", "stls"])
def test_fetchmail_empties_the_maildrop_by_pop3(account, tmp_path, way):
    account.put("one", "two")
    config = tmp_path / "fetchmailrc"
    port = account.server.ports["pop3s" if way == "pop3s" else "pop3"]
    secure = "ssl" if way == "pop3s" else "sslproto 'auto'"
    config.write_text(
        f'poll localhost protocol POP3 service {port} username "{account.name}" password "{PASSWORD}" {secure} '
        f'sslcertck sslcertfile {account.server.ready["ca"]} no keep fetchall mda "cat >> {tmp_path}/got"\n'
    )
    config.chmod(0o600)
    fetch = (
        "fetchmail",
        "-f",
        str(config),
        "--idfile",
        str(tmp_path / "ids"),
        "--pidfile",
        str(tmp_path / "pid"),
        "-v",
    )
    run(*fetch)
    assert re.findall(r"^Subject: (.*)$", (tmp_path / "got").read_text(), re.M) == ["one", "two"]
    assert account.flags() == {}
    run(*fetch, ok=(1,))  # no mail


@program("curl")
def test_curl_lists_reads_and_deletes_by_pop3(account):
    account.put("one", "two")
    common = ("curl", "-sS", "--ssl-reqd", "--cacert", account.server.ready["ca"], "-u", f"{account.name}:{PASSWORD}")
    for scheme, port in (("pop3s", "pop3s"), ("pop3", "pop3")):
        url = f"{scheme}://localhost:{account.server.ports[port]}"
        assert re.fullmatch(r"1 \d+\s+2 \d+\s*", run(*common, f"{url}/"))
        assert "body of two" in run(*common, f"{url}/2")
    before = run(*common, f"{url}/", "-X", "UIDL")
    run(*common, f"{url}/1", "-X", "DELE", "--head")
    assert set(account.flags()) == {"two"}
    after = run(*common, f"{url}/", "-X", "UIDL")
    assert after.split()[1] == before.split()[3], "the other one keeps its id"


class Terminal:
    """A program in a terminal of 120 by 40, by tmux on a socket of its own."""

    def __init__(self, folder, *argv, env=()):
        self._tmux = ("tmux", "-S", str(folder / "tmux"), "-f", "/dev/null")
        words = [word for pair in env for word in ("-e", pair)]
        run(*self._tmux, "new-session", "-d", "-x", "120", "-y", "40", *words, *argv)

    def screen(self) -> str:
        return run(*self._tmux, "capture-pane", "-p", ok=(0, 1))

    def type(self, *keys):
        for key in keys:
            run(*self._tmux, "send-keys", key)

    def wait(self, text, seconds=30):
        """Until this is on the screen."""
        end = time.monotonic() + seconds
        while text not in (screen := self.screen()):
            assert time.monotonic() < end, f"{text!r} did not come:\n{screen}"
            time.sleep(0.1)

    def ended(self, seconds=20):
        end = time.monotonic() + seconds
        while subprocess.run((*self._tmux, "has-session"), capture_output=True, check=False).returncode == 0:
            assert time.monotonic() < end, f"it goes on:\n{self.screen()}"
            time.sleep(0.1)

    def close(self):
        subprocess.run((*self._tmux, "kill-server"), capture_output=True, check=False)


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(*argv, env=()):
        opened.append(Terminal(tmp_path, *argv, env=env))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@program("neomutt", "tmux")
def test_neomutt_reads_files_and_deletes(account, tmp_path, terminal):
    account.put("to be read", "to be filed", "to be deleted")
    (tmp_path / "rc").write_text(f"""\
set folder = "imaps://localhost:{account.server.ports["imaps"]}/"
set spoolfile = "+INBOX"
set imap_user = "{account.name}"
set imap_pass = "{PASSWORD}"
set certificate_file = "{account.server.ready["ca"]}"
set ssl_force_tls = yes
set confirmappend = no
set delete = yes
set quit = yes
set sort = mailbox-order
set header_cache = "{tmp_path}/cache"
""")
    shown = terminal("neomutt", "-n", "-F", str(tmp_path / "rc"), env=(f"HOME={tmp_path}",))
    shown.wait("to be deleted")
    shown.type("1", "Enter", "Enter")
    shown.wait("body of to be read")
    shown.type("i", "2", "Enter", "s")
    shown.wait("Save to mailbox")
    shown.type("C-u", "=Archive", "Enter")
    account.put("came meanwhile")
    shown.type("3", "Enter", "d", "$")
    shown.wait("came meanwhile")
    shown.type("q")
    shown.ended()
    flags = account.flags()
    assert set(flags) == {"to be read", "came meanwhile"}
    assert "\\Seen" in flags["to be read"]
    assert set(account.flags("Archive")) == {"to be filed"}


@program("alpine", "tmux")
def test_alpine_reads_and_expunges(account, tmp_path, terminal):
    account.put("to be read", "to be deleted")
    place = f"{{localhost:{account.server.ports['imaps']}/ssl/novalidate-cert/user={account.name}}}"
    (tmp_path / ".pinerc").write_text(f"""\
inbox-path={place}INBOX
folder-collections=Mail {place}[]
last-version-used=6.26
feature-list=expunge-without-confirm,expunge-without-confirm-everywhere,quit-without-confirm,disable-password-caching,disable-password-file-saving
personal-name=Ada
user-domain=example.test
""")
    shown = terminal("alpine", "-p", str(tmp_path / ".pinerc"), "-i", env=(f"HOME={tmp_path}", "TERM=screen"))
    shown.wait("ENTER PASSWORD")
    shown.type(PASSWORD, "Enter")
    shown.wait("to be deleted")
    shown.type("j", "1", "Enter", "Enter")
    shown.wait("body of to be read")
    shown.type("i", "j", "2", "Enter", "d", "x")
    shown.wait("1 message expunged")
    shown.type("q")
    shown.ended()
    assert account.flags() == {"to be read": {"\\Seen"}}
