"""Several sessions of two workers do everything at once to one mailbox; in the end all of them know the same."""

import asyncio
import random

import pytest

from unit.session_imap.model_client import ModelClient

STEPS = 30
NUMBERED = {b"FETCH", b"STORE", b"SEARCH"}


class Actor:
    """A client that does random things and keeps a model of the mailbox."""

    def __init__(self, client, choice):
        self.client, self.choice = client, choice
        self.model = ModelClient([])

    async def do(self, command, *literals):
        told, tagged = await self.client.do(command, *literals)
        for response in told:
            assert command.split()[0] not in NUMBERED or b"EXPUNGE" not in response
            assert command.split()[0] not in NUMBERED or b"VANISHED" not in response
            self.model.hear(response)
        assert tagged.startswith(b"OK") or b"[EXPUNGEISSUED]" in tagged, (command, tagged)

    async def idle(self):
        await self.client.send(b"i IDLE\r\n")
        while not (response := await self.client.response()).startswith(b"+"):
            self.model.hear(response[2:])
        await asyncio.sleep(0)
        await self.client.send(b"DONE\r\n")
        *told, tagged = await self.client.until(b"i")
        assert tagged.startswith(b"i OK")
        for response in told:
            self.model.hear(response[2:])

    async def step(self):
        pick = self.choice
        count = len(self.model.uids)
        match pick.choice(
            ["append", "store", "store", "uid", "expunge", "move", "copy", "noop", "fetch", "idle", "body"]
        ):
            case "append":
                await self.do(b"APPEND INBOX (%b) {}" % pick.choice([b"", b"\\Seen", b"todo"]), b"a: 1\r\n\r\nx")
            case "expunge":
                await self.do(b"EXPUNGE")
            case "idle":
                await self.idle()
            case "uid":
                await self.do(b"UID STORE %d:* +FLAGS (\\Answered)" % pick.randint(1, 60))
            case _ if not count:
                await self.do(b"NOOP")
            case "store":
                low, high = sorted((pick.randint(1, count), pick.randint(1, count)))
                flag = pick.choice([b"\\Seen", b"\\Deleted", b"todo", b"\\Flagged"])
                sign = pick.choice([b"", b"+", b"-"])
                if pick.random() < 0.5:
                    await self.do(b"STORE %d:%d %bFLAGS (%b)" % (low, high, sign, flag))
                else:
                    uids = self.model.uids[low - 1 : high]
                    self.model.store(uids, sign, flag)
                    await self.do(b"STORE %d:%d %bFLAGS.SILENT (%b)" % (low, high, sign, flag))
            case "move":
                await self.do(b"MOVE %d Archive" % pick.randint(1, count))
            case "copy":
                await self.do(b"COPY %d INBOX" % pick.randint(1, count))
            case "fetch":
                await self.do(b"FETCH 1:* (UID FLAGS)")
            case "body":
                await self.do(b"FETCH %d (UID BODY[])" % pick.randint(1, count))
            case _:
                await self.do(b"NOOP")


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_know_the_same_in_the_end(house, seed):
    async with house() as h:
        there = await h.second_node()
        h.node.store.on_commit(there.store.hint, own_only=True)
        there.store.on_commit(h.node.store.hint, own_only=True)
        actors = []
        for number in range(4):
            enable = "QRESYNC IMAP4rev2" if number < 2 else "IMAP4rev2"
            client = await h.login("INBOX", enable=enable, node=there if number % 2 else h.node)
            actors.append(Actor(client, random.Random(seed * 10 + number)))

        async def act(actor):
            for _ in range(STEPS):
                await actor.step()

        await asyncio.gather(*map(act, actors))
        known = []
        for actor in actors:
            await actor.do(b"NOOP")
            believed = dict(actor.model.flags)
            await actor.do(b"UID FETCH 1:* (FLAGS)")
            assert None not in actor.model.uids
            assert all(actor.model.flags[uid] == believed.get(uid, actor.model.flags[uid]) for uid in actor.model.uids)
            known.append({uid: actor.model.flags[uid] for uid in actor.model.uids})
        assert all(one == known[0] for one in known)
