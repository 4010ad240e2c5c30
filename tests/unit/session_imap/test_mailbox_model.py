"""A mailbox with three sessions on two workers, and a model of it: what each client believes is true at every step.

After any command a session knows the flags of every message in its view (RFC 9051 section 5.2); it learns of expunged
ones at the end of any command but FETCH, STORE and SEARCH by number (section 7.5.1), and then its view is the mailbox.
A client that comes back with QRESYNC (RFC 7162) knows as much as if it had stayed.
"""

import asyncio
import re

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from examples import examples
from pillarbox.imap.sequence import parse
from pillarbox.session.imap_views import Views
from pillarbox.store import view_blocks
from unit.session_imap.model_client import ModelClient, UidOnlyClient

BY_NUMBER = (b"FETCH", b"STORE", b"SEARCH")
FLAGS = (b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Seen", b"todo")
flag_sets = st.frozensets(st.sampled_from(FLAGS), max_size=2)
sessions = st.integers(0, 2)
places = st.integers(0, 1 << 16)


class Mailbox:
    """What is in INBOX: flags by UID."""

    def __init__(self):
        self.flags, self.uidnext = {}, 1

    def add(self, flags):
        self.flags[self.uidnext] = frozenset(flags)
        self.uidnext += 1

    def expunge(self, uids=None):
        for uid in [u for u, flags in self.flags.items() if b"\\Deleted" in flags and (uids is None or u in uids)]:
            del self.flags[uid]


class Session:
    """A client, what it believes, and what it keeps while it is away."""

    def __init__(self, client, *, qresync, uid_only=False):
        self.client, self.qresync, self.uid_only = client, qresync, uid_only
        self.believe([])
        self.validity = self.modseq = 0
        self.away = False

    def believe(self, uids):
        """What it knows of a mailbox that it has just selected."""
        self.model = (UidOnlyClient if self.uid_only else ModelClient)(uids)

    async def do(self, command):
        told, tagged = await self.client.do(command)
        for response in told:
            if command.startswith(BY_NUMBER):
                assert not re.match(rb"\d+ EXPUNGE|VANISHED", response), (command, response)
            self.model.hear(response)
            self.saw(response)
        self.saw(tagged)
        return told, tagged

    def saw(self, response):
        for number in re.findall(rb"MODSEQ \(?(\d+)", response):
            self.modseq = max(self.modseq, int(number))

    def known(self):
        return [uid for uid in self.model.uids if uid is not None]


def words(flags):
    return b" ".join(sorted(flags))


class MailboxMachine(RuleBasedStateMachine):
    """The rules. Each is one command of one session, and what a client does with the answer."""

    make_house = None  # a house of its own for each run, see the test

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.house = type(self).make_house()
        self.truth = Mailbox()
        self.sessions = []

    @initialize(uid_only=st.booleans())
    def begin(self, uid_only):
        """`uid_only`: one session hears no message numbers (RFC 9586)."""
        self.run(self.open(uid_only))

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    async def open(self, uid_only):
        h = self.h = await self.house.__aenter__()
        there = await h.second_node()
        h.node.store.on_commit(there.store.hint, own_only=True)
        there.store.on_commit(h.node.store.hint, own_only=True)
        enabled = ("QRESYNC IMAP4rev2", "IMAP4rev2", "QRESYNC IMAP4rev2" + " UIDONLY" * uid_only)
        for words_, node in zip(enabled, (h.node, there, there), strict=True):
            client = await h.login(enable=words_, node=node)
            session = Session(client, qresync="QRESYNC" in words_, uid_only="UIDONLY" in words_)
            self.sessions.append(session)
            await self.select(session)

    def teardown(self):
        try:
            self.run(self.end())
        finally:
            self.loop.close()

    async def end(self):
        try:
            for session in self.sessions:
                if session.away:
                    await self.come_back(session)
                await self.check(session, b"NOOP")
        finally:
            await self.house.__aexit__(None, None, None)

    # What every step ends with.

    async def check(self, session, command):
        """Do a command, ask for the UIDs that are not known yet, and compare; the tagged answer."""
        told, tagged = await session.do(command)
        model = session.model
        if None in model.uids:
            unknown = b"UID FETCH 1:*" if session.uid_only else b"FETCH %d:*" % (model.uids.index(None) + 1)
            await session.do(unknown + b" (UID FLAGS)")
        for uid, flags in model.flags.items():
            if uid in self.truth.flags:
                assert frozenset(flags.split()) == self.truth.flags[uid], (command, uid)
        assert set(self.truth.flags) <= set(session.known()), "it has heard of every message"
        if not command.startswith(BY_NUMBER):
            assert model.uids == sorted(self.truth.flags), command
        return told, tagged

    def step(self, number, command):
        return self.run(self.check(self.sessions[number], command))

    def pick(self, number, at, count=1):
        """Numbers and UIDs of some messages that a session knows, side by side; or nothing."""
        uids = self.sessions[number].known()
        if self.sessions[number].away or not uids:
            return None
        low = at % len(uids)
        high = min(low + count, len(uids))
        return (low + 1, high, uids[low:high])

    # The rules.

    @rule(who=sessions, flags=flag_sets)
    def append(self, who, flags):
        session = self.sessions[who]
        if session.away:
            return

        async def work():
            uid = self.truth.uidnext
            self.truth.add(flags)
            told, tagged = await session.client.do(b"APPEND INBOX (%b) {}" % words(flags), b"a: 1\r\n\r\nx")
            assert re.search(rb"\[APPENDUID \d+ %d\]" % uid, tagged), tagged
            for response in told:
                session.model.hear(response)
                session.saw(response)
            await self.check(session, b"NOOP")

        self.run(work())

    @rule(
        who=sessions,
        at=places,
        count=st.integers(1, 3),
        sign=st.sampled_from([b"", b"+", b"-"]),
        flag=st.sampled_from(FLAGS),
        silent=st.booleans(),
        by_uid=st.booleans(),
    )
    def store(self, who, at, count, sign, flag, silent, by_uid):
        if (picked := self.pick(who, at, count)) is None:
            return
        low, high, uids = picked
        by_uid = by_uid or self.sessions[who].uid_only
        for uid in uids:
            if (had := self.truth.flags.get(uid)) is not None:
                self.truth.flags[uid] = had | {flag} if sign == b"+" else had - {flag} if sign else frozenset({flag})
        if silent:
            self.sessions[who].model.store(uids, sign, flag)
        item = b"%bFLAGS%b (%b)" % (sign, b".SILENT" if silent else b"", flag)
        command = b"UID STORE %d:%d " % (uids[0], uids[-1]) if by_uid else b"STORE %d:%d " % (low, high)
        _, tagged = self.step(who, command + item)
        assert tagged.startswith(b"OK") or (not by_uid and b"EXPUNGEISSUED" in tagged), tagged

    @rule(who=sessions)
    def expunge(self, who):
        if not self.sessions[who].away:
            self.truth.expunge()
            assert self.step(who, b"EXPUNGE")[1].startswith(b"OK")

    @rule(who=sessions, at=places, count=st.integers(1, 4))
    def uid_expunge(self, who, at, count):
        if (picked := self.pick(who, at, count)) is not None:
            uids = picked[2]
            self.truth.expunge(uids)
            assert self.step(who, b"UID EXPUNGE %b" % b",".join(b"%d" % u for u in uids))[1].startswith(b"OK")

    @rule(who=sessions, at=places, by_uid=st.booleans())
    def move(self, who, at, by_uid):
        if (picked := self.pick(who, at)) is not None:
            low, _, (uid,) = picked
            there = self.truth.flags.pop(uid, None) is not None
            by_uid = by_uid or self.sessions[who].uid_only
            _, tagged = self.step(who, b"UID MOVE %d Archive" % uid if by_uid else b"MOVE %d Archive" % low)
            assert tagged.startswith(b"OK") or not there, tagged

    @rule(who=sessions, at=places)
    def copy(self, who, at):
        if (picked := self.pick(who, at)) is not None:
            low, _, (uid,) = picked
            there = uid in self.truth.flags
            if there:
                self.truth.add(self.truth.flags[uid])
            by_uid = self.sessions[who].uid_only
            _, tagged = self.step(who, b"UID COPY %d INBOX" % uid if by_uid else b"COPY %d INBOX" % low)
            assert tagged.startswith(b"OK") or not there, tagged

    @rule(who=sessions)
    def noop(self, who):
        if not self.sessions[who].away:
            self.step(who, b"NOOP")

    @rule(who=sessions, at=places)
    def fetch(self, who, at):
        if (picked := self.pick(who, at, 2)) is not None:
            low, high, uids = picked
            if self.sessions[who].uid_only:
                told, _ = self.step(who, b"UID FETCH %d:%d (FLAGS BODY.PEEK[HEADER])" % (uids[0], uids[-1]))
                seen = {int(m[1]) for r in told if (m := re.match(rb"(\d+) UIDFETCH \(.*BODY\[", r, re.S))}
                assert {u for u in uids if u in self.truth.flags} <= seen <= set(uids)
                return
            told, _ = self.step(who, b"FETCH %d:%d (UID FLAGS BODY.PEEK[HEADER])" % (low, high))
            got = {int(m[1]): int(m[2]) for r in told if (m := re.match(rb"(\d+) FETCH \(UID (\d+).*BODY\[", r, re.S))}
            assert got.items() <= dict(zip(range(low, high + 1), uids, strict=True)).items()
            assert {u for u in uids if u in self.truth.flags} <= set(got.values())

    @rule(who=sessions, flag=st.sampled_from(FLAGS[:4]))
    def search(self, who, flag):
        session = self.sessions[who]
        if session.away:
            return
        before = {uid: frozenset(session.model.flags[uid].split()) for uid in session.known()}
        told, _ = self.step(who, b"UID SEARCH RETURN (ALL) %b" % flag[1:].upper())
        found = next((m for r in told if (m := re.match(rb"ESEARCH \(TAG \S+\) UID(?: ALL ([\d:,]+))?", r))), None)
        assert found is not None, told
        ranges = parse(found[1]).ranges if found[1] else []
        uids = {uid for low, high in ranges for uid in range(low, high + 1)}
        # What came meanwhile may be in the answer or not; of the rest it is right.
        for uid, flags in before.items():
            if uid in self.truth.flags and (flag in flags) == (flag in self.truth.flags[uid]):
                assert (uid in uids) == (flag in flags)

    @rule(who=sessions)
    def idle(self, who):
        """What comes in IDLE while another appends and expunges."""
        session, other = self.sessions[who], self.sessions[(who + 1) % 3]
        if session.away or other.away:
            return

        async def work():
            client = session.client
            await client.send(b"i IDLE\r\n")
            while not (response := await client.response()).startswith(b"+"):
                session.model.hear(response.removeprefix(b"* "))
            self.truth.add(())
            for response in await other.client.ok(b"APPEND INBOX {}", b"a: 1\r\n\r\nx"):
                other.model.hear(response)
                other.saw(response)
            while True:  # at once; what was new before may come first
                response = await client.response()
                session.model.hear(response[2:])
                if re.fullmatch(rb"\* \d+ EXISTS", response):
                    break
            await client.send(b"DONE\r\n")
            for response in await client.until(b"i"):
                session.model.hear(response.removeprefix(b"* "))
            await self.check(session, b"NOOP")
            await self.check(other, b"NOOP")

        self.run(work())

    @precondition(lambda self: any(not s.away for s in self.sessions if s.qresync))
    @rule(which=st.booleans(), close=st.booleans())
    def leave(self, which, close):
        """Go away knowing all, by UNSELECT or by CLOSE, which expunges and says nothing of it."""
        session = self.sessions[0 if which else 2]
        if session.away:
            return

        async def work():
            await self.check(session, b"NOOP")
            await session.client.ok(b"CLOSE" if close else b"UNSELECT")

        self.run(work())
        session.away = True
        if close:
            self.truth.expunge()

    @precondition(lambda self: any(s.away for s in self.sessions))
    @rule(known=st.booleans())
    def return_all(self, known):
        for session in self.sessions:
            if session.away:
                self.run(self.come_back(session, known=known))

    @rule(most=st.sampled_from([2, 99]))
    def pack(self, most):
        """The job that packs the columns of large mailboxes, and no view rests any more: who selects reads blocks."""

        async def work():
            store = self.h.node.store
            orders = await store.scan(view_blocks.due)
            for order in orders[: -most - 1 : -1]:
                await store.write(view_blocks.carry_out, order)

        self.run(work())
        for node in (self.h.node, *self.h.others):
            node.views = Views()

    # SELECT.

    async def select(self, session):
        told, tagged = await session.client.do(b"SELECT INBOX")
        assert tagged.startswith(b"OK")
        session.believe([])
        for response in told:
            session.model.hear(response)
            session.saw(response)
            if found := re.search(rb"UIDVALIDITY (\d+)", response):
                session.validity = int(found[1])

    async def come_back(self, session, *, known=False):
        """QRESYNC: what was known, less VANISHED (EARLIER), with what FETCH tells, is the mailbox.

        With `known` UIDs the server tells of these only (section 3.2.5.1), and new messages are a number in EXISTS.
        """
        flags = {uid: session.model.flags[uid] for uid in session.model.uids}
        known = known and bool(flags)
        names = b" " + b",".join(b"%d" % uid for uid in flags) if known else b""
        parameters = b"QRESYNC (%d %d%b)" % (session.validity, session.modseq, names)
        told, tagged = await session.client.do(b"SELECT INBOX (%b)" % parameters)
        assert tagged.startswith(b"OK"), tagged
        exists = None
        for response in told:
            session.saw(response)
            if found := re.fullmatch(rb"VANISHED \(EARLIER\) ([\d:,]+)", response):
                for low, high in parse(found[1]).ranges:
                    for uid in range(low, high + 1):
                        assert uid not in self.truth.flags
                        flags.pop(uid, None)
            elif found := re.fullmatch(rb"(\d+) EXISTS", response):
                exists = int(found[1])
            elif found := re.match(rb"\d+ (?:UID)?FETCH \(UID (\d+) FLAGS \(([^)]*)\) MODSEQ \(\d+\)\)", response):
                assert session.uid_only == (b"UIDFETCH" in response)
                flags[int(found[1])] = found[2]
        assert exists == len(self.truth.flags)
        assert exists == len(flags) or known
        session.believe([*sorted(flags), *[None] * (exists - len(flags))])
        session.model.flags = flags
        session.away = False
        for uid, seen in flags.items():
            assert frozenset(seen.split()) == self.truth.flags[uid]
        await self.check(session, b"NOOP")


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request, tmp_path_factory):
    """Gives the place of an empty database, as often as it is called."""
    if request.param == "sqlite":
        return lambda: str(tmp_path_factory.mktemp("model") / "smtp.db")
    return request.getfixturevalue("postgres_server").new_schema


def test_three_sessions_on_two_workers_and_the_model_agree(house, new_database, monkeypatch):
    for name, value in {"SPAN": 2, "LEAST": 2, "STALE": 2}.items():
        monkeypatch.setattr(view_blocks, name, value)

    class Machine(MailboxMachine):
        make_house = staticmethod(lambda: house(database=new_database()))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(15),
            phases=(Phase.explicit, Phase.generate),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
