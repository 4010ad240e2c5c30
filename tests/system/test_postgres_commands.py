"""The commands beside two nodes on PostgreSQL: they find its database, change what both serve, and show no password."""

import imaplib
import json
import signal

import pytest

from nodes import ADA, PASSWORD, SECRET, soon

EVE = "eve@example.com"


def takes(node, password):
    client = imaplib.IMAP4_SSL("127.0.0.1", node.ports["imaps"], ssl_context=node.tls(), timeout=20)
    try:
        return client.login(EVE, password)[0] == "OK"
    except imaplib.IMAP4.error:
        return False
    finally:
        client.logout()


def test_accounts(pair, database):
    one, two = pair
    database.add_account(EVE)
    again = database.run("user_cli", "create", EVE, "--password-stdin", input=PASSWORD)
    assert (again.returncode, again.stderr) == (1, f"Error: User '{EVE}' already exists\n")
    assert EVE in database.run("user_cli", "list").stdout
    assert database.run("user_cli", "verify", EVE, "--password-stdin", input=PASSWORD).returncode == 0
    assert database.run("user_cli", "verify", EVE, "--password-stdin", input="wrong").returncode == 1
    assert takes(one, PASSWORD) and takes(two, PASSWORD)
    changed = database.run("user_cli", "change-password", EVE, "--password-stdin", input="another password")
    assert changed.returncode == 0, changed.stderr
    soon(lambda: not (takes(one, PASSWORD) or takes(two, PASSWORD)), "the password of before is forgotten")
    assert takes(one, "another password") and takes(two, "another password")
    assert database.run("user_cli", "delete", EVE).returncode == 0
    assert EVE not in database.run("user_cli", "list").stdout


def test_a_session_at_the_other_node_ends_with_its_account(pair, database):
    database.add_account(EVE)
    client = imaplib.IMAP4_SSL("127.0.0.1", pair[1].ports["imaps"], ssl_context=pair[1].tls(), timeout=20)
    client.login(EVE, PASSWORD)
    assert database.run("user_cli", "delete", EVE).returncode == 0
    assert client.readline().startswith(b"* BYE")
    client.shutdown()


def test_the_queue(pair, database):
    database.pillarbox("routes", "add", "later", "hold")
    database.pillarbox("routes", "use", "later", "--for", "elsewhere.test")
    with pair[0].submission() as client:
        client.sendmail(ADA, "bob@elsewhere.test", f"From: {ADA}\r\nSubject: waits\r\n\r\nhello\r\n")
    (row,) = json.loads(database.pillarbox("queue", "list", "--json"))
    assert (row["from_address"], row["to_address"]) == (ADA, "bob@elsewhere.test")
    assert "bob@elsewhere.test" in database.pillarbox("queue", "mailq")
    database.pillarbox("queue", "delete", str(row["id"]))
    assert json.loads(database.pillarbox("queue", "list", "--json")) == []


def test_the_schema(pair, database):
    assert "pending" not in database.pillarbox("migrate", "status")
    assert database.pillarbox("migrate", "up") == "nothing to apply\n"
    refused = database.run("pillarbox", "migrate", "down")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is in use: stop the server (on every node)" in refused.stderr
    assert "pending" not in database.pillarbox("migrate", "status")
    assert database.pillarbox("check")


def test_a_backup_is_postgresqls(pair, database):
    for words in (["backup", str(database.folder / "copy")], ["pause", "1"]):
        refused = database.run("pillarbox", *words)
        assert refused.returncode == 1
        assert "pg_dump" in refused.stderr
    assert not (database.folder / "copy").exists()


def test_a_database_by_its_option(pair, database):
    shown = database.pillarbox("user", "list", "--json", "--db", database.url)
    assert [user["username"] for user in json.loads(shown)] == [ADA]
    for module, words in {"pillarbox": ["user", "list"], "user_cli": ["list"]}.items():
        refused = database.run(module, *words, "--db", f"{database.url}&password={SECRET}")
        assert refused.returncode == 2
        assert ".pgpass" in refused.stderr
        assert refused.stdout == ""


def test_the_settings(database):
    done = database.run("smtp_server", "--validate-only")
    assert done.returncode == 0, done.stderr
    assert "successful" in done.stdout


@pytest.mark.parametrize("how", ["command", "signal"])
def test_an_upgrade(pair, how):
    one, two = pair
    workers, number = one.workers(), one.standing().upgrade.number if one.standing().upgrade else 0
    session = two.imap()
    if how == "command":
        done = one.upgrade()
        assert done.returncode == 0, done.stderr
    else:
        one.process.send_signal(signal.SIGUSR2)
    soon(lambda: (a := one.standing().upgrade) and (a.number, a.state) == (number + 1, "done"), "the upgrade is done")
    soon(lambda: len(one.workers()) == 2 and not set(one.workers()) & set(workers), "the old workers have gone")
    with one.smtp() as client:
        client.sendmail("eve@elsewhere.test", ADA, f"Subject: {how}\r\n\r\nhello\r\n")
    session.select("INBOX")
    assert session.search(None, "SUBJECT", how)[1][0]
    session.logout()
