"""Taking connections from a socket that several workers share."""

import asyncio
import errno
import os
import socket

import pytest

from pillarbox.access.ledger import Field, Ledger
from pillarbox.access.limits import Role
from pillarbox.session import acceptor
from pillarbox.session.acceptor import AT_HOME, FAR, SHARE, Acceptor, Courtesy


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
    first = Acceptor(listening, taken.append, lambda: 0.001 * (len(taken) > len(others)))
    second = Acceptor(sibling, others.append, lambda: 0.001 * (len(others) > len(taken)))
    clients = [knock(listening) for _ in range(40)]
    await until(lambda: len(taken) + len(others) == 40)
    assert abs(len(taken) - len(others)) <= 2
    first.close()
    second.close()
    for sock in (*clients, *taken, *others):
        sock.close()


async def test_what_nobody_else_takes_is_taken_after_a_moment(listening):
    taken = []
    alone = Acceptor(listening, taken.append, lambda: 0.001)
    clients = [knock(listening) for _ in range(3)]
    await until(lambda: len(taken) == 3)
    alone.close()
    for sock in (*clients, *taken):
        sock.close()


async def test_closed_while_it_waits(listening, monkeypatch):
    taken, asked = [], []
    one = Acceptor(listening, taken.append, lambda: asked.append(1) or 0.001)
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


async def test_what_the_others_took_in_that_moment_is_not_taken_again(listening, sibling):
    taken, others, pauses = [], [], [0.001]
    polite = Acceptor(listening, taken.append, lambda: pauses.pop() if pauses else 0.0)
    client = knock(listening)
    await until(lambda: not pauses)
    other = Acceptor(sibling, others.append)
    await until(lambda: others)
    await asyncio.sleep(0.002)
    assert taken == []
    other.close()
    late = knock(listening)
    await until(lambda: taken)  # it is there for the next one
    polite.close()
    for sock in (client, late, *taken, *others):
        sock.close()


NONE = 0.0


@pytest.mark.parametrize(
    ("mine", "others", "workers", "seconds"),
    [
        (0, [0], 2, NONE),
        (1, [0], 2, NONE),
        (2, [0], 2, SHARE),
        (3, [2], 2, NONE),
        (4, [2], 2, SHARE),
        (9, [], 1, NONE),
        (3, [0, 3], 3, SHARE),
        (2, [2, 3], 3, NONE),
    ],
)
def test_the_share_of_a_worker(mine, others, workers, seconds):
    assert asked([mine, *others], 1, workers) == seconds


@pytest.mark.parametrize(
    ("counts", "asks", "ready", "seconds"),
    [
        ([0, 0], 2, (1, 2), AT_HOME),  # nobody is there: to the first worker
        ([1, 0], 2, (1, 2), AT_HOME),
        ([2, 0], 2, (1, 2), NONE),  # that one has enough
        ([0, 1], 2, (1, 2), NONE),  # who has one takes another
        ([0, 0], 1, (1, 2), NONE),
        ([0, 0], 2, (2,), NONE),  # the first one leaves, or has not begun
        ([0, 0, 0], 3, (2, 3), AT_HOME),
        ([0, 0], 2, (), NONE),
    ],
)
def test_the_first_worker_is_there_for_who_comes_alone(counts, asks, ready, seconds):
    assert asked(counts, asks, len(counts), ready) == seconds


def test_others_look_less_often_while_the_first_one_takes_them():
    ledger, now = Ledger(2), [100.0]
    for number in (1, 2):
        ledger.attach(number).set(Field.READY, 1)
    slot = ledger.attach(2)
    courtesy = Courtesy(slot, Role.IMAP, 2, clock=lambda: now[0])

    def after(seconds):
        now[0] += seconds
        return courtesy()

    assert [after(0.03) for _ in range(4)] == [AT_HOME, 2 * AT_HOME, FAR, FAR]
    slot.set(Field.IMAP_CONNECTIONS_ACTIVE, 1)  # it took one that the first worker had left
    assert after(0.03) == NONE
    slot.set(Field.IMAP_CONNECTIONS_ACTIVE, 0)
    assert [after(0.03), after(0.03)] == [AT_HOME, 2 * AT_HOME]
    assert after(0.2) == AT_HOME  # of one that comes now and then they know at once


def asked(counts, number, workers, ready=()):
    """What the worker in slot `number` is told; `counts` are the connections of slot 1 and those after it."""
    ledger = Ledger(3)
    for slot, count in enumerate(counts, 1):
        ledger.attach(slot).set(Field.IMAP_CONNECTIONS_ACTIVE, count)
        ledger.attach(slot).set(Field.SMTP_CONNECTIONS_ACTIVE, 7 * slot)  # of other protocols
        ledger.attach(slot).set(Field.READY, int(slot in ready))
    return Courtesy(ledger.attach(number), Role.IMAP, workers)()


def test_who_comes_and_goes_is_not_left_to_the_others():
    ledger, now = Ledger(2), [100.0]
    slot = ledger.attach(1)
    slot.set(Field.IMAP_CONNECTIONS_ACTIVE, 5)
    slot.set(Field.IMAP_CONNECTIONS_TOTAL, 100_000)
    share = Courtesy(slot, Role.IMAP, 2, clock=lambda: now[0])
    assert share() == SHARE  # whatever came before, nothing is known of these
    slot.add(Field.IMAP_CONNECTIONS_TOTAL, 20)
    assert share() == SHARE  # the five that are there may be of those
    slot.add(Field.IMAP_CONNECTIONS_TOTAL, 1)
    assert share() == NONE
    now[0] += 0.11
    assert share() == NONE  # that was a moment ago
    now[0] += 0.11
    assert share() == SHARE
    slot.add(Field.IMAP_CONNECTIONS_TOTAL, 50)
    now[0] += 3600
    assert share() == SHARE  # nobody knows when they came
