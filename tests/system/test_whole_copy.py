"""A server on a file moves to PostgreSQL and back: its clients and its queue are as they were, and go on."""

import imaplib
import json

import pytest

from nodes import ADA, PASSWORD, Database, Node

EVE = "eve@example.com"
LARGE = "a line of a large message\r\n" * 40_000
BOXES = ("INBOX", "Work", "Archive")


@pytest.fixture
def place(postgres_server, tmp_path):
    """The database to move to, and a folder for the file."""
    return Database(postgres_server.new_schema(), tmp_path)


def node_on(database, name, path=None):
    """A node on the database, or on a file."""
    node = Node(database, name)
    if path is not None:
        del node.environ["SMTP_DATABASE_URL"]
        node.environ["SMTP_DB_PATH"] = str(path)
    return node.start()


def login(node, user):
    client = imaplib.IMAP4_SSL("127.0.0.1", node.ports["imaps"], ssl_context=node.tls(), timeout=30)
    client.login(user, PASSWORD)
    return client


def deliver(node, subject, text="hello\r\n"):
    with node.smtp() as client:
        client.sendmail("stranger@elsewhere.test", ADA, f"Subject: {subject}\r\n\r\n{text}")


def use(node):
    """A day of two people."""
    for number in range(8):
        deliver(node, f"message {number}", LARGE if number == 3 else "hello\r\n")
    ada = login(node, ADA)
    ada.select("INBOX")
    ada.uid("STORE", "1:3", "+FLAGS", r"(\Seen \Flagged $Work)")
    ada.create("Work")
    ada.uid("COPY", "1:2", "Work")
    ada.uid("MOVE", "6", "Work")
    ada.uid("STORE", "5,7", "+FLAGS", r"(\Deleted)")
    ada.expunge()
    ada.subscribe("Work")
    assert ada.setacl("Work", EVE, "lrs")[0] == "OK"
    ada.logout()
    with node.submission() as client:
        client.sendmail(ADA, ["bob@elsewhere.test", "eva@elsewhere.test"], f"From: {ADA}\r\nSubject: out\r\n\r\nhi\r\n")


def seen(node):
    """What clients see: every mailbox, and what one learns that comes back to it after a while (RFC 7162)."""
    found = {}
    for user, boxes in ((ADA, BOXES), (EVE, ("Other Users/ada@example.com/Work",))):
        client = login(node, user)
        for box in boxes:
            name = f'"{box}"'
            status = client.status(name, "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ UNSEEN SIZE MAILBOXID)")
            assert client.select(name, readonly=True)[0] == "OK"
            mail = client.uid("FETCH", "1:*", "(FLAGS MODSEQ INTERNALDATE EMAILID THREADID ENVELOPE BODY.PEEK[])")
            words = client.uid("SEARCH", "BODY", "hello")
            found[user, box] = status, mail, words
        found[user] = sorted(client.lsub()[1])
        client.logout()
    client = login(node, ADA)
    client.enable("QRESYNC")
    client.is_readonly = True  # as select(readonly=True) would say
    (uidvalidity,) = found[ADA, "INBOX"][0][1][0].split(b"UIDVALIDITY ")[1].split()[:1]
    client._simple_command("EXAMINE", f"INBOX (QRESYNC ({uidvalidity.decode()} 2))")
    found["resync"] = [client.response(word)[1] for word in ("VANISHED", "FETCH", "EXISTS")]
    client.logout()
    return found


def test_to_postgresql_and_back(place):
    first, again = place.folder / "first.db", place.folder / "again.db"
    for user in (ADA, EVE):
        done = place.run("user_cli", "create", user, "--password-stdin", "--db", str(first), input=PASSWORD)
        assert done.returncode == 0, done.stderr
    place.pillarbox("routes", "add", "later", "hold", "--db", str(first))
    place.pillarbox("routes", "use", "later", "--for", "elsewhere.test", "--db", str(first))
    node = node_on(place, "file", first)
    use(node)
    before, queue = seen(node), json.loads(place.pillarbox("queue", "list", "--json", "--db", str(first)))
    assert before["resync"][0] == [b"(EARLIER) 5:7"]
    assert len(before["resync"][1]) >= 3
    assert len(queue) == 2
    refused = place.run("pillarbox", "copy", "--from", str(first))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{first} is in use: stop the server" in refused.stderr
    assert node.stop() == 0

    done = place.pillarbox("copy", "--from", str(first))
    assert "2 accounts" in done and "2 queued; every table has as many rows there" in done
    assert "no problems" in place.pillarbox("check") and "no problems" in place.pillarbox("check", "--db", str(first))
    node = node_on(place, "moved")
    assert seen(node) == before
    assert json.loads(place.pillarbox("queue", "list", "--json")) == queue
    deliver(node, "after")
    ada = login(node, ADA)
    ada.select("INBOX")
    assert ada.uid("SEARCH", "SUBJECT", "after")[1] == [b"9"]
    ada.logout()
    after = seen(node)
    refused = place.run("pillarbox", "copy", "--to", str(again))
    assert (refused.returncode, "the database is in use: stop the server" in refused.stderr) == (1, True)
    assert node.stop() == 0

    facts = json.loads(place.pillarbox("copy", "--to", str(again), "--json"))
    assert (facts["rows"]["users"], facts["rows"]["message_queue"], facts["left_out"]) == (2, 2, [])
    assert "no problems" in place.pillarbox("check", "--db", str(again))
    node = node_on(place, "back", again)
    assert seen(node) == after
    assert node.stop() == 0
    assert "Database went back in time" not in node.log.read_text()


def test_what_cannot_be_copied(place):
    one = place.folder / "one.db"
    done = place.run("user_cli", "create", ADA, "--password-stdin", "--db", str(one), input=PASSWORD)
    assert done.returncode == 0, done.stderr
    for status, said, *words in (
        (2, "Usage: pillarbox copy --to PATH|URL"),
        (2, "everybody sees a password on a command line", "--to", f"{place.url}&password=x"),
        (1, "no database at", "--from", str(place.folder / "none.db")),
        (1, "there is no folder", "--from", str(one), "--to", str(place.folder / "none" / "two.db")),
        (1, "the database to copy from has no store in it", "--to", str(place.folder / "two.db")),
    ):
        done = place.run("pillarbox", "copy", *words)
        assert (done.returncode, done.stdout) == (status, ""), done.stderr
        assert said in done.stderr
    place.pillarbox("copy", "--from", str(one))
    done = place.run("pillarbox", "copy", "--from", str(one))
    assert (done.returncode, "is not empty: its table users has rows" in done.stderr) == (1, True)
    done = place.run("pillarbox", "copy", "--to", str(one))
    assert (done.returncode, "one.db exists" in done.stderr) == (1, True)
