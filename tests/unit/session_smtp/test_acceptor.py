"""Taking connections from a socket that several workers share."""

import asyncio
import errno
import os
import socket

import pytest

from pillarbox.access.ledger import Field, Ledger
from pillarbox.access.limits import Role
from pillarbox.session import acceptor
from pillarbox.session.acceptor import Acceptor, more_than_its_share


@pytest.fixture
def listening():
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    with sock:
        yield sock


@pytest.fixture
def sibling(listening):
    """The same socket as another worker has it."""
    with listening.dup() as sock:
        yield sock


def knock(listening):
    return socket.create_connection(listening.getsockname())


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_each_connection_is_taken_once(listening, sibling):
    taken = [], []
    acceptors = [Acceptor(listening, taken[0].append), Acceptor(sibling, taken[1].append)]
    clients = [knock(listening) for _ in range(20)]
    await until(lambda: len(taken[0]) + len(taken[1]) == 20)
    for client in clients:
        client.send(b"x")
    assert all(sock.gettimeout() == 0 for mine in taken for sock in mine)
    for one in acceptors:
        one.close()
    for sock in (*clients, *taken[0], *taken[1]):
        sock.close()


async def test_who_has_more_than_its_share_leaves_the_next_to_the_others(listening, sibling):
    taken, others = [], []
    first = Acceptor(listening, taken.append, lambda: len(taken) > len(others))
    second = Acceptor(sibling, others.append, lambda: len(others) > len(taken))
    clients = [knock(listening) for _ in range(40)]
    await until(lambda: len(taken) + len(others) == 40)
    assert abs(len(taken) - len(others)) <= 2
    first.close()
    second.close()
    for sock in (*clients, *taken, *others):
        sock.close()


async def test_what_nobody_else_takes_is_taken_after_a_moment(listening):
    taken = []
    alone = Acceptor(listening, taken.append, lambda: True)
    clients = [knock(listening) for _ in range(3)]
    await until(lambda: len(taken) == 3)
    alone.close()
    for sock in (*clients, *taken):
        sock.close()


async def test_closed_while_it_waits(listening, monkeypatch):
    monkeypatch.setattr(acceptor, "COURTESY", 0.0)
    taken, asked = [], []
    one = Acceptor(listening, taken.append, lambda: not asked.append(1))
    client = knock(listening)
    await until(lambda: asked)
    one.close()
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == []
    other = Acceptor(listening, taken.append)  # the socket and its queue are as they were
    await until(lambda: taken)
    other.close()
    client.close()
    taken[0].close()


@pytest.mark.parametrize("reason", [errno.EMFILE, errno.EINVAL])
async def test_when_none_can_be_taken_it_tries_again_after_a_while(listening, monkeypatch, reason):
    monkeypatch.setattr(acceptor, "EXHAUSTED", 0.001)
    failures = [OSError(reason, os.strerror(reason)), ConnectionAbortedError(), BlockingIOError()]
    pauses = []
    monkeypatch.setattr(
        Acceptor, "_wait", lambda self, seconds, wait=Acceptor._wait: pauses.append(wait(self, seconds))
    )

    class Failing:
        fileno = staticmethod(listening.fileno)

        @staticmethod
        def accept():
            if failures:
                raise failures.pop(0)
            return listening.accept()

    taken = []
    one = Acceptor(Failing(), taken.append)
    client = knock(listening)
    await until(lambda: taken)
    assert not failures
    assert len(pauses) == 1
    one.close()
    client.close()
    taken[0].close()


@pytest.mark.parametrize(
    ("mine", "others", "workers", "overfull"),
    [
        (0, [0], 2, False),
        (1, [0], 2, False),
        (2, [0], 2, True),
        (3, [2], 2, False),
        (4, [2], 2, True),
        (9, [], 1, False),
        (3, [0, 3], 3, True),
        (2, [2, 3], 3, False),
    ],
)
def test_the_share_of_a_worker(mine, others, workers, overfull):
    ledger = Ledger(3)
    for number, count in enumerate([mine, *others], 1):
        ledger.attach(number).set(Field.IMAP_CONNECTIONS_ACTIVE, count)
        ledger.attach(number).set(Field.SMTP_CONNECTIONS_ACTIVE, 7 * number)  # of other protocols
    assert more_than_its_share(ledger.attach(1), Role.IMAP, workers)() is overfull
