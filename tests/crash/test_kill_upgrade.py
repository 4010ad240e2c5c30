"""`kill -9` at random moments of an upgrade, under load: nothing that got `250` is lost, the next start is clean."""

import contextlib
import os
import random
import signal
import time

from crash.load import Sender
from crash.test_kill import SENDERS, verify

ROUNDS = int(os.environ.get("PILLARBOX_CRASH_ROUNDS", "6"))
VICTIMS = ("supervisor", "child", "tree", "nobody")


def test_nothing_promised_is_lost_when_an_upgrade_is_killed(own):
    chance, total, killed = random.Random(), 0, dict.fromkeys(VICTIMS, 0)
    for number in range(ROUNDS):
        recipients = [username for username, _ in own.accounts]
        senders = [Sender(n, own.ports["smtp"], recipients) for n in range(SENDERS)]
        time.sleep(chance.uniform(0.2, 0.6))
        own.process.send_signal(signal.SIGUSR2)
        time.sleep(chance.uniform(0.0, 2.5))
        victim = VICTIMS[number % len(VICTIMS)]
        killed[victim] += 1
        if victim == "child":  # a worker, old or new, or the trial
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(own.workers()), signal.SIGKILL)
        elif victim == "supervisor":
            own.kill_supervisor()
        elif victim == "tree":
            own.kill()
        time.sleep(chance.uniform(0.2, 1.0))
        promised = set().union(*(sender.stop() for sender in senders))
        if own.process.poll() is not None:
            assert victim in ("supervisor", "tree"), own.log.read_text()[-3000:]
            own.start()
        else:
            ended = ("Upgrade Complete", "Upgrade Failed")
            end = time.monotonic() + 30
            while own.standing().upgrade.state == "running" and time.monotonic() < end:
                time.sleep(0.1)
            assert any(text in own.log.read_text() for text in ended)
        total += verify(own, promised)
    print(f"{ROUNDS} rounds, killed {killed}, {total} promised messages, none lost")
    assert total > ROUNDS, "the load never got through"
    assert own.stop() == 0
    own.check()
