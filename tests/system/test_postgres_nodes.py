"""Two real servers on one PostgreSQL: mail of the one is mail of the other."""

import poplib

from nodes import ADA, PASSWORD, soon


def deliver(node, subject, text="hello"):
    """A stranger's message to Ada."""
    with node.smtp() as client:
        client.sendmail("eve@elsewhere.test", ADA, f"Subject: {subject}\r\n\r\n{text}\r\n")


def found(client, *criteria):
    return client.uid("SEARCH", *criteria)[1][0].split()


def test_mail_of_one_node_is_read_at_the_other(pair):
    one, two = pair
    deliver(one, "first", "there is a xylophone in it")
    here, there = one.imap(), two.imap()
    assert here.select("INBOX") == there.select("INBOX")
    assert here.response("UIDVALIDITY") == there.response("UIDVALIDITY") != ("UIDVALIDITY", [None])
    (uid,) = found(there, "TEXT", "xylophone")
    assert found(there, "TEXT", "trombone") == []
    assert found(here, "TEXT", "xylophone") == [uid]
    assert here.uid("FETCH", uid, "(BODY.PEEK[])") == there.uid("FETCH", uid, "(BODY.PEEK[])")
    there.uid("STORE", uid, "+FLAGS", r"(\Flagged todo)")
    soon(lambda: here.noop() and found(here, "FLAGGED", "KEYWORD", "todo") == [uid], "the flags of the other node")
    there.create('"From two"')
    there.uid("MOVE", uid, '"From two"')
    soon(lambda: here.noop() and found(here, "ALL") == [], "the message has moved")
    assert here.select('"From two"') == ("OK", [b"1"])
    for client in (here, there):
        client.logout()


def test_idle_is_told_of_a_delivery_at_the_other_node(pair):
    one, two = pair
    client = two.imap()
    count = int(client.select("INBOX")[1][0])
    client.send(b"i IDLE\r\n")
    assert client.readline().startswith(b"+")
    deliver(one, "news")
    client.sock.settimeout(20)
    assert client.readline() == b"* %d EXISTS\r\n" % (count + 1)
    client.send(b"DONE\r\n")
    while not (line := client.readline()).startswith(b"i OK"):
        assert line.startswith(b"* ")
    client.logout()


def test_pop3_at_the_other_node(pair):
    one, two = pair
    deliver(one, "for POP3", "trombone")
    client = poplib.POP3("127.0.0.1", two.ports["pop3"], timeout=30)
    client.stls(two.tls())
    client.user(ADA)
    client.pass_(PASSWORD)
    number = client.stat()[0]
    assert b"trombone" in client.retr(number)[1]
    client.dele(number)
    client.quit()
    reader = one.imap()
    reader.select("INBOX")
    assert found(reader, "TEXT", "trombone") == []
    reader.logout()
