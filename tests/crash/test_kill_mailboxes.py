"""`kill -9` of a worker or of the whole tree under work on mailboxes: a tagged OK holds, nothing is half done.

PILLARBOX_CRASH_ROUNDS says how many rounds (3 unless set).
"""

import os
import random
import signal
import time

from crash.load import message
from crash.mailbox_load import PLACES, Known, Owner, subjects
from crash.test_kill import ROUNDS
from running import Running

OWNERS = 3


def test_what_was_answered_ok_holds_and_nothing_is_half_done(own):
    chance, knowledge = random.Random(), [Known() for _ in range(OWNERS)]
    validities: dict[tuple[int, str], bytes] = {}
    for _ in range(ROUNDS):
        owners = [Owner(number, own, known) for number, known in enumerate(knowledge)]
        time.sleep(chance.uniform(0.3, 1.5))
        if chance.random() < 0.3:
            os.kill(chance.choice(own.workers()), signal.SIGKILL)
            time.sleep(0.2)
        else:
            own.kill()
        knowledge = [owner.stop() for owner in owners]
        if own.process.poll() is not None:
            own.check()
            own.start()
        for number, known in enumerate(knowledge):
            settle(own, number, known, validities)
    assert sum(len(known.settled) for known in knowledge) > ROUNDS, "the load never got through"
    assert own.stop() == 0
    own.check()


def settle(server: Running, number: int, known: Known, validities: dict) -> None:
    """Each message is where it was said to be, once and whole; the command in flight was done for all or for none."""
    client = server.imap(number % len(server.accounts))
    where: dict[str, list[str]] = {}
    for place in PLACES:
        client.select(place, readonly=True)
        (validity,) = client.response("UIDVALIDITY")[1]
        assert validities.setdefault((number % len(server.accounts), place), validity) == validity
        for name in subjects(client).values():
            where.setdefault(name, []).append(place)
        if sample := [uid for uid, name in subjects(client).items() if name.startswith(f"o-{number}-")][-3:]:
            _, data = client.uid("FETCH", ",".join(map(str, sample)), "(BODY.PEEK[])")
            for _, whole in (item for item in data if isinstance(item, tuple)):
                name = whole.partition(b"\r\n")[0].removeprefix(b"Subject: ").decode()
                assert whole == message(name)
    client.logout()
    doubtful = known.in_doubt
    outcomes = set()
    for name, places in known.settled.items():
        found = tuple(sorted(where.get(name, ())))
        if name in doubtful and found != tuple(sorted(places)):
            assert found == tuple(sorted(doubtful[name]))
            outcomes.add("done")
        else:
            assert found == tuple(sorted(places)), f"{name} is in {found}, was said to be in {places}"
            if name in doubtful:
                outcomes.add("not done")
    assert len(outcomes) < 2, "a command was done by half"
    for name in doubtful:
        assert len(where.get(name, ())) <= max(1, len(doubtful[name]))
    known.settled = {
        name: tuple(where[name])
        for name in {*known.settled, *doubtful}
        if name.startswith(f"o-{number}-") and name in where
    }
    known.in_doubt = {}
