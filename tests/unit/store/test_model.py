"""A mailbox is its model: any sequence of changes, seen by a fresh view and by one kept up to date with `changes`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from store_samples import message

from examples import stateful
from pillarbox.store import Tx, directory, mailboxes, messages, open_store, summaries, view_blocks
from pillarbox.store.flags import DELETED
from pillarbox.store.records import View

MESSAGE = message()
WORDS = st.lists(st.sampled_from(["a", "B", "$c"]), max_size=2, unique=True)
BITS = st.integers(0, 31)
NAMES = ["INBOX", "Archive"]
PICKS = st.sets(st.integers(1, 12), max_size=5)

Model = dict[int, tuple[int, frozenset[str]]]  # uid -> flags, keywords


class MailboxMachine(RuleBasedStateMachine):
    """`models` is what ought to be there; `held` what a session with an open view has learnt."""

    place = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.mkdtemp(prefix="pillarbox-model-")
        self.store = self.loop.run_until_complete(open_store(self.place or f"{self.folder}/smtp.db"))
        number = id(self)
        user = self.run(self.store.write(directory.create_user, f"u{number}", f"u{number}@example.com", "h"))
        self.user_id = user.id
        self.models: dict[str, Model] = {name: {} for name in NAMES}
        self.next_uid = dict.fromkeys(NAMES, 1)
        self.ids = {name: self.run(self.store.read(mailboxes.status, user.id, name)).id for name in NAMES}
        self.last_modseq = 0
        self.append(NAMES[0], 0, ["a"], 9)
        self.pack(99)
        self.held = {name: self.open(name) for name in NAMES}

    def run(self, work: object) -> object:
        async def wait() -> object:
            return await work  # type: ignore[misc]

        return self.loop.run_until_complete(wait())

    def open(self, name: str) -> View:
        view = self.run(self.store.scan(messages.open_view, self.ids[name]))
        assert isinstance(view, View)
        return view

    def teardown(self) -> None:
        problems = self.run(self.store.check())
        self.run(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)
        assert problems == []

    def later(self, modseq: int) -> None:
        assert modseq > self.last_modseq
        self.last_modseq = modseq

    @rule(name=st.sampled_from(NAMES), bits=BITS, words=WORDS, count=st.integers(1, 3))
    def append(self, name: str, bits: int, words: list[str], count: int) -> None:
        for _ in range(count):
            done = self.run(self.store.write(messages.append, self.ids[name], MESSAGE, bits, words))
            assert done.uid == self.next_uid[name]
            self.models[name][done.uid] = (bits, frozenset(words))
            self.next_uid[name] += 1
            self.later(done.modseq)

    @rule(name=st.sampled_from(NAMES), uids=PICKS, op=st.sampled_from(["set", "add", "remove"]), bits=BITS, words=WORDS)
    def flag(self, name: str, uids: set[int], op: str, bits: int, words: list[str]) -> None:
        done = self.run(self.store.write(messages.store_flags, self.ids[name], sorted(uids), op, bits, words))
        model, changed = self.models[name], []
        for uid in sorted(uids & model.keys()):
            old_bits, old_words = model[uid]
            given = frozenset(words)
            match op:
                case "set":
                    new = (bits, given)
                case "add":
                    new = (old_bits | bits, old_words | given)
                case _:
                    new = (old_bits & ~bits, old_words - given)
            if new != model[uid]:
                changed.append(uid)
                model[uid] = new
        assert [change[0] for change in done.changed] == changed
        if changed:
            self.later(done.modseq)

    @rule(name=st.sampled_from(NAMES), uids=st.none() | PICKS)
    def expunge(self, name: str, uids: set[int] | None) -> None:
        wanted = None if uids is None else sorted(uids)
        done = self.run(self.store.write(messages.expunge, self.ids[name], wanted))
        model = self.models[name]
        gone = [uid for uid, (bits, _) in model.items() if bits & DELETED and (uids is None or uid in uids)]
        assert done.uids == gone
        for uid in gone:
            del model[uid]
        if gone:
            self.later(done.modseq)

    @rule(source=st.sampled_from(NAMES), into=st.sampled_from(NAMES), uids=PICKS, moving=st.booleans())
    def transfer(self, source: str, into: str, uids: set[int], moving: bool) -> None:
        function = messages.move if moving else messages.copy
        done = self.run(self.store.write(function, self.ids[source], sorted(uids), self.ids[into]))
        expected = []
        for uid in sorted(uids & self.models[source].keys()):
            expected.append((uid, self.next_uid[into]))
            self.models[into][self.next_uid[into]] = self.models[source][uid]
            self.next_uid[into] += 1
        if moving:
            for uid, _ in expected:
                del self.models[source][uid]
        assert done.uids == expected
        if expected:
            self.later(done.modseq)

    @rule(name=st.sampled_from(NAMES), keep=st.integers(0, 3))
    def trim(self, name: str, keep: int) -> None:
        self.run(self.store.write(messages.trim_history, self.ids[name], keep))

    @rule(most=st.sampled_from([1, 2, 3, 5, 99, 99, 99]))
    def pack(self, most: int) -> None:
        """The job that packs the columns of large mailboxes; it may be ended at any moment."""
        orders = self.run(self.store.scan(view_blocks.due))
        while orders and most:
            self.run(self.store.write(view_blocks.carry_out, orders.pop()))
            most -= 1

    @rule(most=st.sampled_from([1, 2, 99]), tidy=st.booleans())
    def summarise(self, most: int, tidy: bool) -> None:
        """The jobs that write summaries, and take out of them what was expunged; `store.check` reads them."""
        find, step = (summaries.thinned, summaries.tidy) if tidy else (summaries.due, summaries.put)
        found = self.run(self.store.scan(find))
        for one in found[::-1][:most]:
            self.run(self.store.write(step, one))

    @rule(name=st.sampled_from(NAMES))
    def summaries_are_apart(self, name: str) -> None:
        """They follow one another, and a message is in one of them at most, by its row id."""
        view, last, seen = self.open(name), 0, set[int]()
        uids = dict(zip(view.ids, view.uids, strict=True))
        for place in self.run(self.store.read(summaries.places, self.ids[name], 1, 1 << 31)):
            ids, _ = self.run(self.store.read(summaries.read, place.id, ["header"]))
            assert last < place.first <= place.last
            assert all(place.first <= uids[row_id] <= place.last for row_id in ids if row_id in uids)
            assert len(ids) == len(set(ids) - seen) == place.messages
            last, seen = place.last, seen | set(ids)

    @rule(name=st.sampled_from(NAMES))
    def learn(self, name: str) -> None:
        """The session asks what is new, and then knows what is there."""
        held = self.held[name]
        uidnext, since = held.mailbox.uidnext, held.mailbox.highestmodseq
        changes = self.run(self.store.scan(messages.changes, self.ids[name], since, uidnext))
        if changes.vanished is None:
            self.held[name] = self.open(name)
            return
        learnt = {
            uid: (bits, frozenset(held.keywords.get(uid, ())))
            for uid, bits in zip(held.uids, held.flags, strict=True)
            if uid not in set(changes.vanished)
        }
        learnt |= {uid: (bits, frozenset(words)) for uid, bits, words, _ in changes.changed}
        learnt |= {row.uid: (row.flags, frozenset(row.keywords)) for row in changes.new}
        assert learnt == self.models[name]
        self.held[name] = self.open(name)

    @precondition(lambda self: self.last_modseq)
    @invariant()
    def a_fresh_view_is_the_model(self) -> None:
        for name in NAMES:
            view = self.open(name)
            words = view.keywords
            seen = {uid: (bits, frozenset(words.get(uid, ()))) for uid, bits in zip(view.uids, view.flags, strict=True)}
            assert seen == self.models[name]
            assert view.mailbox.uidnext == self.next_uid[name]
            assert view.mailbox.message_count == len(seen)
            assert max(view.modseqs, default=0) <= view.mailbox.highestmodseq
            assert view == self.run(self.store.scan(view_of_rows, self.ids[name]))


def view_of_rows(tx: Tx, mailbox_id: int) -> View:
    view = view_blocks.empty(mailboxes.get(tx, mailbox_id))
    view_blocks.read_rows(tx, view)
    return view


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SPAN": 2, "LEAST": 2, "STALE": 3}.items():
        monkeypatch.setattr(view_blocks, name, value)
    monkeypatch.setattr(summaries, "SPAN", 4)
    monkeypatch.setattr(summaries, "LEAST", 2)


def test_on_sqlite() -> None:
    run_state_machine_as_test(MailboxMachine, settings=stateful(25, 25))


def test_on_postgresql(postgres_url: str) -> None:
    machine = type("PostgresMachine", (MailboxMachine,), {"place": postgres_url})
    run_state_machine_as_test(machine, settings=stateful(5, 25))


@pytest.fixture(autouse=True)
def no_folder_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    if os.access("/dev/shm", os.W_OK):
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
