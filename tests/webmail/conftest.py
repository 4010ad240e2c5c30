"""A server, Roundcube in front of it and a browser, once for all tests of this folder; an account for each test."""

import imaplib
import re
import subprocess
import sys
import uuid
from contextlib import contextmanager

import pytest

from running import Running, free_ports
from webmail import roundcube, webdriver
from webmail.pages import Webmail

PASSWORD = "a long enough secret"


class Account:
    """An account of the running server as another program sees it, by imaplib."""

    def __init__(self, server, name):
        self.server, self.name, self.password = server, name, PASSWORD
        self.pillarbox("user", "add", name, "--password-stdin", text=PASSWORD + "\n")

    def pillarbox(self, *words, text=None):
        """Run `pillarbox` on this server's database."""
        argv = [sys.executable, "-m", "pillarbox.cli.pillarbox", *words, "--db", str(self.server.data / "smtp.db")]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def imap(self, mailbox="INBOX"):
        with imaplib.IMAP4_SSL("localhost", self.server.ports["imaps"], ssl_context=self.server.tls()) as client:
            client.login(self.name, PASSWORD)
            assert client.select(f'"{mailbox}"')[0] == "OK"
            yield client

    def receive(self, *subjects, body="Nothing but words.", more=""):
        """Mail comes in by SMTP, one message a subject."""
        with self.server.smtp() as client:
            for subject in subjects:
                head = f"From: Eve Stranger <eve@elsewhere.test>\r\nTo: {self.name}\r\nSubject: {subject}\r\n"
                head += f"Message-ID: <{uuid.uuid4()}@elsewhere.test>\r\nDate: Mon, 7 Feb 2022 21:52:25 -0800\r\n"
                client.sendmail("eve@elsewhere.test", self.name, f"{head}{more}\r\n{body}\r\n".encode())

    def create(self, *mailboxes):
        with self.imap() as client:
            for mailbox in mailboxes:
                assert client.create(f'"{mailbox}"')[0] == "OK"
                assert client.subscribe(f'"{mailbox}"')[0] == "OK"

    def subscribe(self, mailbox):
        with self.imap() as client:
            assert client.subscribe(f'"{mailbox}"')[0] == "OK"

    def append(self, mailbox, subject):
        with self.imap() as client:
            assert (
                client.append(f'"{mailbox}"', "", None, f"Subject: {subject}\r\n\r\nfiled here\r\n".encode())[0] == "OK"
            )

    def folders(self):
        with self.imap() as client:
            return {re.search(rb'"/" "?([^"]*)"?$', line)[1].decode() for line in client.list()[1]}

    def flags(self, mailbox="INBOX"):
        """Flags by subject; no subject is there twice."""
        found = {}
        with self.imap(mailbox) as client:
            for item in client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
                if isinstance(item, tuple):
                    subject = item[1].decode().removeprefix("Subject: ").strip()
                    assert subject not in found, "it is there twice"
                    found[subject] = set(re.search(rb"FLAGS \(([^)]*)\)", item[0])[1].decode().split()) - {"\\Recent"}
        return found

    def mark(self, subject, flags, mailbox="INBOX"):
        with self.imap(mailbox) as client:
            (number,) = client.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
            assert client.store(number, "+FLAGS", f"({flags})")[0] == "OK"

    def only(self, mailbox="INBOX"):
        """The one message of a mailbox, whole."""
        with self.imap(mailbox) as client:
            found = [item[1] for item in client.uid("FETCH", "1:*", "(BODY.PEEK[])")[1] if isinstance(item, tuple)]
        assert len(found) == 1, f"{len(found)} messages in {mailbox}"
        return found[0]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("webmail") / "data").start()
    yield running
    assert running.stop() == 0
    running.check()


@pytest.fixture(scope="session")
def site(request, tmp_path_factory):
    if reason := roundcube.missing():
        pytest.skip(reason)
    server = request.getfixturevalue("server")  # started only for those who need it
    with roundcube.Roundcube(tmp_path_factory.mktemp("roundcube"), free_ports(1), server.ready) as running:
        yield running


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if reason := webdriver.missing():
        pytest.skip(reason)
    with webdriver.Browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def somebody(server):
    """Makes accounts."""
    domain = server.accounts[0][0].partition("@")[2]
    return lambda: Account(server, f"u{uuid.uuid4().hex[:10]}@{domain}")


@pytest.fixture
def ada(somebody):
    return somebody()


@pytest.fixture
def bob(somebody):
    return somebody()


@pytest.fixture
def mail(site, browser, tmp_path):
    """Roundcube in the browser, logged out. Nothing may be refused or go wrong that a test did not look at."""
    page = Webmail(browser, site.url)
    page.forget()
    site.refusals()
    site.errors()
    yield page
    browser.screenshot(tmp_path / "end.png")
    assert site.refusals() == []
    assert site.errors() == ""
