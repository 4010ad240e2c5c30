"""`kill -9` of a worker or of the whole tree, at random moments, under load: nothing that got `250` is ever lost.

PILLARBOX_CRASH_ROUNDS says how many rounds (3 unless set; `make crash` plays 200).
"""

import os
import random
import re
import signal
import socket
import time

from crash.load import Sender, message
from running import Running, without_trace

ROUNDS = int(os.environ.get("PILLARBOX_CRASH_ROUNDS", "3"))
SENDERS = 4


def take_all(server: Running, account: int) -> list[bytes]:
    """Every message of the INBOX, and the INBOX is empty afterwards."""
    client = server.imap(account)
    client.select("INBOX")
    _, data = client.fetch("1:*", "(BODY.PEEK[])")
    messages = [item[1] for item in data if isinstance(item, tuple)]
    if messages:
        client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        client.expunge()
    client.logout()
    return messages


def verify(server: Running, promised: set[tuple[str, str]]) -> int:
    """Each promised message is there once, byte-exact; whatever else is there is whole too. Returns how many."""
    count = 0
    for account, (username, _) in enumerate(server.accounts):
        expected = {name for name, recipient in promised if recipient == username}
        seen: dict[str, int] = {}
        for whole in take_all(server, account):
            found = re.search(rb"^Subject: (\S+)", whole, re.MULTILINE)
            assert found
            name = found[1].decode()
            assert without_trace(whole) == message(name), f"{name} is not what was sent"
            seen[name] = seen.get(name, 0) + 1
        assert expected <= set(seen), f"lost: {sorted(expected - set(seen))[:5]}"
        assert max(seen.values(), default=1) == 1, "a message is there twice"
        count += len(expected)
    return count


def test_nothing_promised_is_lost_when_processes_are_killed(own):
    chance, total, killed = random.Random(), 0, {"worker": 0, "tree": 0}
    for _ in range(ROUNDS):
        recipients = [username for username, _ in own.accounts]
        senders = [Sender(n, own.ports["smtp"], recipients) for n in range(SENDERS)]
        time.sleep(chance.uniform(0.2, 1.2))
        if chance.random() < 0.5:
            killed["worker"] += 1
            os.kill(chance.choice(own.workers()), signal.SIGKILL)
            time.sleep(chance.uniform(0.1, 0.6))
            promised = set().union(*(sender.stop() for sender in senders))
        else:
            killed["tree"] += 1
            own.kill()
            promised = set().union(*(sender.stop() for sender in senders))
            own.check()
            own.start()
        total += verify(own, promised)
    print(f"{ROUNDS} rounds, killed {killed}, {total} promised messages, none lost")
    assert total > ROUNDS, "the load never got through"
    assert own.stop() == 0
    own.check()


def test_a_killed_worker_is_replaced_and_the_others_sessions_go_on(own):
    clients = [socket.create_connection(("127.0.0.1", own.ports["smtp"]), 10) for _ in range(8)]
    assert all(client.recv(512).startswith(b"220 ") for client in clients)
    before = own.workers()
    assert len(before) >= 2
    os.kill(before[0], signal.SIGKILL)
    assert sum(answers(client) for client in clients) > 0
    end = time.monotonic() + 10
    while (len(own.workers()) < len(before) or before[0] in own.workers()) and time.monotonic() < end:
        time.sleep(0.02)
    assert len(own.workers()) == len(before)
    with own.smtp() as client:
        assert client.sendmail("a@elsewhere.test", own.accounts[0][0], "Subject: after\r\n\r\nhi\r\n") == {}


def answers(client: socket.socket) -> bool:
    """Whether this session still goes on; it is closed afterwards."""
    with client:
        try:
            client.sendall(b"NOOP\r\n")
            return client.recv(512).startswith(b"250 ")
        except OSError:
            return False
