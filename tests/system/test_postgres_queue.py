"""The queue of two real servers on one PostgreSQL: what both take on is sent once, also when the database goes down.

When a node is killed nothing is lost, and little comes twice.
"""

import threading
import time
from collections import Counter
from contextlib import contextmanager

import psycopg
import pytest

from crash.recording_sink import RecordingSink
from nodes import ADA, Database, Node, nodes, soon

SENDERS = 4  # sessions of a client at each node
EACH = 25  # messages of a session
JUST_BEFORE = 3.0  # seconds between a 250 and the commit that notes it, on a machine that has other work


@pytest.fixture
def sink():
    one = RecordingSink(0.03)
    yield one
    one.close()


class Client(threading.Thread):
    """Submits to one node until it has sent so many, it is `over`, or the node is gone, which `cut` it.

    `promised`: what was answered 250.
    """

    def __init__(self, node: Node, name: str, most: int) -> None:
        super().__init__(daemon=True)
        self.node, self.over, self.cut = node, False, False
        self.promised: list[str] = []
        self._names = [f"{name}-{number}" for number in range(most)]
        self.start()

    def run(self):
        try:
            with self.node.submission() as client:
                for name in self._names:
                    text = f"From: {ADA}\r\nSubject: {name}\r\n\r\nhello\r\n"
                    assert client.sendmail(ADA, f"{name}@elsewhere.test", text) == {}
                    self.promised.append(name)
                    if self.over:
                        return
        except OSError:  # smtplib's errors are some too
            self.cut = True


def submit(nodes, most):
    return [Client(node, f"{node.data.name}-{number}", most) for node in nodes for number in range(SENDERS)]


def promised(clients):
    for client in clients:
        client.join()
    return {name for client in clients for name in client.promised}


def arrived(sink, names, seconds=45):
    """How often each did, once all have."""
    end = time.monotonic() + seconds
    while not names <= {name for _, name in sink.taken}:
        assert time.monotonic() < end, f"{len(names - {name for _, name in sink.taken})} of {len(names)} did not arrive"
        time.sleep(0.05)
    return Counter(name for _, name in sink.taken)


def waiting(database):
    return len(database.pillarbox("queue", "list", "--json")) > len("[]\n")


@contextmanager
def sending(postgres_server, tmp_path, sink):
    """A database, two nodes on it, and clients of both that go on, once some of their mail has arrived."""
    database = Database(postgres_server.new_schema(), tmp_path)
    with nodes(database, "one", "two") as pair:
        database.add_route(sink.port)
        clients = submit(pair, 10_000)
        soon(lambda: len(sink.taken) >= 20, "some are sent")
        yield database, pair, clients


def test_what_both_take_on_is_sent_once(pair, database, sink):
    database.add_route(sink.port)
    names = promised(submit(pair, EACH))
    assert len(names) == 2 * SENDERS * EACH
    arrived(sink, names)
    soon(lambda: not waiting(database), "the queue is empty")
    assert arrived(sink, names) == Counter(names)


def test_kill_of_a_node_that_is_sending(postgres_server, tmp_path, sink):
    with sending(postgres_server, tmp_path, sink) as (database, pair, clients):
        victim = who_has_most(pair, database)
        victim.kill()
        killed = time.monotonic()
        for client in clients:
            client.over = client.node is not victim
        names = promised(clients)
        pair.append(Node(database, "three"))
        pair[-1].start()  # what the dead one had is free at once when one starts
        times = arrived(sink, names)
        soon(lambda: not waiting(database), "the queue is empty")
    twice = [name for name, count in times.items() if count == 2]
    print(f"{len(names)} promised, none lost, {len(twice)} twice")
    assert [client.cut for client in clients] == [client.node is victim for client in clients]
    assert max(times.values()) <= 2
    for name in twice:
        first = min(at for at, taken in sink.taken if taken == name)
        assert -1 < killed - first < JUST_BEFORE, f"{name} came twice without a kill"


def test_the_database_goes_down_while_they_send(postgres_server, tmp_path, sink):
    with sending(postgres_server, tmp_path, sink) as (database, _, clients):
        with postgres_server.down():
            names = promised(clients)
        times = arrived(sink, names)
        soon(lambda: not waiting(database), "the queue is empty")
    assert max(times.values()) == 1, "nobody was killed"


def who_has_most(pair, database):
    """The node that has most of the queue in hand, as soon as one has some."""
    had = Counter()

    def look():
        rows = connection.execute("SELECT claimed_by FROM message_queue WHERE status = 'processing'").fetchall()
        had.update(int(owner.split(":")[1]) for (owner,) in rows)
        return had

    with psycopg.connect(database.url, autocommit=True) as connection:
        soon(look, "some of the queue is in hand")
    return max(pair, key=lambda node: sum(had[pid] for pid in node.workers()))
