"""A client that only listens, and a model of what it was told: after anything others did it is what the server has.

Two clients on two workers make, rename, delete, subscribe to and fill mailboxes; the listener is told of the changes
of a third of them by no hint at all, so that the walk has to find them.
"""

import random
import re

import pytest

from unit.session_imap.notify_client import listening

EVENTS = "(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)"
NAMES = ("a", "b", "a/x", "a/y", "b/x", "b/x/z", "c")
LETTER = b"Subject: x\r\n\r\nx\r\n"


class Listener:
    """Names with \\Subscribed or without, and what STATUS said of each."""

    def __init__(self):
        self.names, self.status = {}, {}

    def hear(self, response):
        if listed := re.fullmatch(rb'LIST \(([^)]*)\) "/" (\S+)(?: \("OLDNAME" \((\S+)\)\))?', response):
            attributes, name, old = listed[1].split(), listed[2].decode(), listed[3]
            if old is not None:
                self._rename(old.decode(), name)
            if b"\\NonExistent" in attributes:
                self.names.pop(name, None)
                self.status.pop(name, None)
            else:
                self.names[name] = b"\\Subscribed" in attributes
        elif status := re.fullmatch(rb"STATUS (\S+) \((.*)\)", response):
            words = status[2].decode().split()
            self.status.setdefault(status[1].decode(), {}).update(zip(words[::2], map(int, words[1::2]), strict=True))

    def _rename(self, old, new):
        """What is below goes along (section 5.4)."""
        for known in (self.names, self.status):
            for name in [one for one in known if one == old or one.startswith(old + "/")]:
                known[new + name[len(old) :]] = known.pop(name)


async def anything(chance, client):
    """Some command, which may fail."""
    name, other = chance.sample(NAMES, 2)
    match chance.randrange(10):
        case 0 | 1:
            await client.do(f"CREATE {name}")
        case 2:
            await client.do(f"DELETE {name}")
        case 3 | 7:
            await client.do(f"RENAME {name} {other}")
        case 4:
            await client.do(f"{chance.choice(['SUBSCRIBE', 'UNSUBSCRIBE'])} {name}")
        case 5 | 6:
            await client.do(f"APPEND {name} (\\Seen) {{}}" if chance.random() < 0.5 else f"APPEND {name} {{}}", LETTER)
        case _:
            _, tagged = await client.do(f"SELECT {name}")
            if tagged.startswith(b"OK"):
                command = chance.choice(
                    ["STORE 1:* +FLAGS (\\Seen)", "STORE 1:* +FLAGS (\\Deleted)", "EXPUNGE", "MOVE 1 INBOX"]
                )
                await client.do(command)
                await client.do("UNSELECT")


async def truth(client):
    """What LIST and STATUS say."""
    items = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ"
    found = Listener()
    for response in await client.ok(f'LIST "" * RETURN (SUBSCRIBED STATUS ({items}))'):
        found.hear(response)
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_who_only_listens_knows_everything(make_house, seed):
    chance = random.Random(seed)
    async with make_house() as h:
        sibling = await h.second_node()
        hints = lambda touched: chance.random() < 0.67 and h.node.store.hint(touched)  # noqa: E731
        sibling.store.on_commit(hints, own_only=True)
        writers = [await h.login(), await h.login(node=sibling)]
        c = await listening(h, f"(personal {EVENTS})", enable="CONDSTORE")
        model = await truth(c)
        (view, _), *_ = h.node.accounts._views.values()
        for _ in range(12):
            for _ in range(chance.randrange(1, 8)):
                await anything(chance, chance.choice(writers))
            view.doubt()  # as once a second
            await view.settle()
            for response in await c.ok("NOOP"):
                model.hear(response)
            now = await truth(writers[0])
            assert model.names == now.names
            for name, items in model.status.items():
                # A new name has a number too, and is no news of messages.
                assert items.pop("HIGHESTMODSEQ") <= now.status[name]["HIGHESTMODSEQ"]
                assert items.items() <= now.status[name].items(), name
                items["HIGHESTMODSEQ"] = now.status[name]["HIGHESTMODSEQ"]
