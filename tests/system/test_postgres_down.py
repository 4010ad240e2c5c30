"""The database of two real servers goes down and comes back: mail and logins wait, nothing promised is lost, and nobody
has to be started again."""

import imaplib
import json
import poplib
import smtplib
import threading
import time
import urllib.error
import urllib.request

import psycopg
import pytest

from nodes import ADA, PASSWORD, Database, Node, soon

BOB = "bob@example.com"  # whose password no worker remembers


class Stranger(threading.Thread):
    """Sends to Ada again and again. `codes`: all that it was answered; `promised`: what was answered 250."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.node, self.over = node, False
        self.codes, self.promised = set(), set()
        self.start()

    def run(self):
        number = 0
        while not self.over:
            number += 1
            name = f"{self.node.data.name}-{number}"
            code = send(self.node, name)
            self.codes.add(code)
            if code == 250:
                self.promised.add(name)
            time.sleep(0.02)

    def end(self):
        self.over = True
        self.join()
        return self.promised


def send(node, subject):
    """The answer that decided."""
    with smtplib.SMTP("127.0.0.1", node.ports["smtp"], local_hostname="client.test", timeout=20) as client:
        try:
            client.sendmail("eve@elsewhere.test", ADA, f"Subject: {subject}\r\n\r\nhello\r\n")
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients[ADA][0]
        except smtplib.SMTPResponseException as error:
            return error.smtp_code
        return 250


def health(node):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.ports['health']}/health", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_goes_down_and_comes_back(postgres_server, database, pair):
    database.add_account(BOB)
    sessions = [node.imap() for node in pair]
    workers = [node.workers() for node in pair]
    for session in sessions:
        session.select("INBOX")
    strangers = [Stranger(node) for node in pair]
    soon(lambda: all(len(stranger.promised) > 10 for stranger in strangers), "mail before")
    with postgres_server.down():
        for node, session in zip(pair, sessions, strict=True):
            refused(node)
            for _ in range(5):
                assert session.noop()[0] == "OK"
    soon(lambda: [health(node)[1]["status"] for node in pair] == ["healthy"] * 2, "health is well again")
    came_back = [len(stranger.promised) for stranger in strangers]
    soon(lambda: all(len(s.promised) > n + 10 for s, n in zip(strangers, came_back, strict=True)), "mail after")
    promised = set.union(*[stranger.end() for stranger in strangers])
    codes = set.union(*[stranger.codes for stranger in strangers])
    assert {250, 451} <= codes <= {250, 421, 451, 452}
    for node, session in zip(pair, sessions, strict=True):
        soon(lambda session=session: session.noop()[0] == "OK", "a session from before goes on")
        subjects = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        assert promised <= {item[1].decode().split()[1] for item in subjects if isinstance(item, tuple)}
        session.logout()
        node.submission().quit()
    assert [node.workers() for node in pair] == workers
    for node in pair:
        said = node.log.read_text()
        assert "Traceback" not in said
        assert said.count("The database cannot be used") == len(node.workers())
        assert "News of a mailbox could not be read" not in said


def refused(node):
    """For now, at once and by every protocol."""
    began = time.monotonic()
    assert send(node, "never") == 451
    with smtplib.SMTP("127.0.0.1", node.ports["submission"], local_hostname="client.test", timeout=20) as client:
        client.starttls(context=node.tls())
        with pytest.raises(smtplib.SMTPAuthenticationError) as answer:
            client.login(BOB, PASSWORD)
        assert answer.value.smtp_code == 454
    client = imaplib.IMAP4_SSL("127.0.0.1", node.ports["imaps"], ssl_context=node.tls(), timeout=20)
    with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
        client.login(BOB, PASSWORD)
    client.logout()
    client = poplib.POP3("127.0.0.1", node.ports["pop3"], timeout=20)
    client.stls(node.tls())
    client.user(BOB)
    with pytest.raises(poplib.error_proto, match="SYS/TEMP"):
        client.pass_(PASSWORD)
    client.quit()
    code, said = health(node)
    assert (code, said["status"], said["checks"]["database"]) == (503, "unhealthy", False)
    assert time.monotonic() - began < 20


def test_a_start_with_too_few_connections(postgres_server, tmp_path):
    schema = postgres_server.new_schema()
    name = f"few_{schema.rpartition('%3D')[2]}"
    with psycopg.connect(schema) as operator:
        operator.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 1")
        operator.execute(f"GRANT ALL ON SCHEMA {schema.rpartition('%3D')[2]} TO {name}")
    node = Node(Database(schema.replace("user=postgres", f"user={name}"), tmp_path), "narrow")
    node.launch()
    assert node.process.wait(30) == 1
    said = node.log.read_text()
    assert "Traceback" not in said
    assert "too many connections" in said and "or lower SMTP_WORKER_THREADS" in said


def test_a_start_without_the_database(postgres_server, database):
    with postgres_server.down():
        node = Node(database, "early")
        node.launch()
        assert node.process.wait(20) == 1
    said = node.log.read_text()
    assert "Traceback" not in said
    assert "SMTP_DATABASE_URL" in said
    assert "password" not in said.replace("password=***", "")
    assert node.start().stop() == 0
