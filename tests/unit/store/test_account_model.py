"""Accounts with quotas, mailboxes that come and go, the queue, and the clean-up: what is used is exact after any
sequence, and no blob goes before its time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from store_samples import Clock, message, to

from examples import stateful
from pillarbox.store import (
    Conflict,
    Invalid,
    NotFound,
    OverQuota,
    Tx,
    annotating,
    blobs,
    directory,
    mailboxes,
    messages,
    open_store,
    past,
    undelete,
)
from pillarbox.store.annotating import Change
from pillarbox.store.records import Delivery, Queued, User

SMALL, LARGE = message(), message(body="x" * 700)
FOLDERS = ["INBOX", "Archive", "work", "work/old"]
USERS = st.sampled_from(["alice", "bob"])
PLACES = st.sampled_from(FOLDERS)
WHAT = st.sampled_from([SMALL, LARGE])
PICKS = st.sets(st.integers(1, 12), max_size=6)


def references(tx: Tx) -> tuple[set[int], set[int]]:
    """Blobs there are, and blobs that somebody refers to."""
    there = {row[0] for row in tx.rows("SELECT id FROM blobs")}
    wanted = tx.rows(
        "SELECT blob_id FROM messages UNION SELECT blob_id FROM message_queue WHERE blob_id IS NOT NULL "
        "UNION SELECT blob_id FROM expunged WHERE expunged_at IS NOT NULL"
    )
    return there, {row[0] for row in wanted}


def empty(tx: Tx) -> None:
    """On PostgreSQL: what the example before left behind, noted at times of its own clock, goes."""
    tx.run("TRUNCATE users, blobs, unreferenced_blobs RESTART IDENTITY CASCADE")
    tx.run("UPDATE store_counters SET value = 0 WHERE name = 'blob_sweep'")


class AccountMachine(RuleBasedStateMachine):
    place = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.mkdtemp(prefix="pillarbox-model-", dir="/dev/shm")
        self.clock = Clock()
        self.store = self.run(open_store(self.place or f"{self.folder}/smtp.db", clock=self.clock))
        if self.place:
            self.write(empty)
        self.users: dict[str, User] = {}
        for name in ("alice", "bob"):
            self.users[name] = self.write(directory.create_user, name, f"{name}@example.com", "h", quota_limit=5000)
        self.there: set[int] = set()
        self.alone: dict[int, int] = {}  # blobs nobody refers to, and since when

    def run(self, work: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await work

        return self.loop.run_until_complete(wait())

    def write(self, fn: Any, *args: Any, **more: Any) -> Any:
        return self.run(self.store.write(fn, *args, **more))

    def folder_id(self, user: str, name: str) -> int | None:
        found = self.run(self.store.read(mailboxes.find, self.users[user].id, name))
        return None if found is None else found.id

    def teardown(self) -> None:
        problems = self.run(self.store.check())
        self.run(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)
        assert problems == []

    @rule(
        what=WHAT,
        whom=st.lists(st.tuples(USERS, PLACES, st.sampled_from([0, 1, 8, 9])), max_size=4),
        queued=st.integers(0, 2),
    )
    def deliver(self, what: Any, whom: list[tuple[str, str, int]], queued: int) -> None:
        plans: list[Delivery | Queued] = [to(self.users[name], place, flags=flags) for name, place, flags in whom]
        plans += [Queued("a@example.com", "b@example.net")] * queued
        if not plans:
            return
        before = {name: self.used(name) for name in self.users}
        outcomes = self.write(messages.deliver, what, plans)
        stored = dict.fromkeys(self.users, 0)
        for (name, _, _), outcome in zip(whom, outcomes, strict=False):
            assert outcome.error in (None, "over quota")
            stored[name] += 0 if outcome.error else what.analysis.size
        for name in self.users:
            assert self.used(name) == before[name] + stored[name] <= 5000

    def used(self, name: str) -> int:
        account = self.run(self.store.read(directory.get_user, self.users[name].id))
        assert isinstance(account.quota_used, int)
        return account.quota_used

    @rule(user=USERS, place=PLACES, what=WHAT, flags=st.integers(0, 31))
    def append(self, user: str, place: str, what: Any, flags: int) -> None:
        if (target := self.folder_id(user, place)) is not None:
            self.allowed(messages.append, target, what, flags)

    @rule(user=USERS, into=USERS, place=PLACES, other=PLACES, uids=PICKS, moving=st.booleans())
    def transfer(self, user: str, into: str, place: str, other: str, uids: set[int], moving: bool) -> None:
        source, there = self.folder_id(user, place), self.folder_id(into, other)
        if source is not None and there is not None:
            self.allowed(messages.move if moving else messages.copy, source, sorted(uids), there)

    def allowed(self, fn: Any, *args: Any, **more: Any) -> None:
        """It is done, or refused for the quota and then changes nothing."""
        before = {name: self.used(name) for name in self.users}
        try:
            self.write(fn, *args, **more)
        except OverQuota:
            assert {name: self.used(name) for name in self.users} == before
        assert all(self.used(name) <= 5000 for name in self.users)

    @rule(user=USERS, place=PLACES, uids=PICKS, flags=st.integers(0, 31), note=st.sampled_from([None, b"", b"x" * 99]))
    def mark(self, user: str, place: str, uids: set[int], flags: int, note: bytes | None) -> None:
        if (target := self.folder_id(user, place)) is not None:
            self.write(messages.store_flags, target, sorted(uids), "set", flags, ["a", "b"][: flags % 3])
            for shared in (True, False):
                change = Change("/comment", shared, note)
                self.write(annotating.store, target, self.users[user].id, sorted(uids), [change])

    @rule(user=USERS, place=PLACES, uids=PICKS)
    def expunge(self, user: str, place: str, uids: set[int]) -> None:
        if (target := self.folder_id(user, place)) is not None:
            self.write(messages.store_flags, target, sorted(uids), "add", 8)
            self.write(messages.expunge, target)

    @rule(user=USERS, place=PLACES, other=PLACES)
    def folders(self, user: str, place: str, other: str) -> None:
        for change, args in (
            (mailboxes.create, (place,)),
            (mailboxes.rename, (place, other + "/below")),
            (mailboxes.rename, (place, other)),
            (mailboxes.delete, (other,)),
        ):
            try:
                self.write(change, self.users[user].id, *args)
            except (Conflict, NotFound, Invalid, OverQuota):
                continue

    @rule(user=USERS, pick=st.integers(0, 5), other=st.sampled_from(["", *FOLDERS]))
    def messages_come_back(self, user: str, pick: int, other: str) -> None:
        user_id = self.users[user].id
        gone = self.run(self.store.scan(undelete.gone, user_id, moved=True))
        with suppress(NotFound):  # their mailbox is deleted, or there is no other
            self.allowed(undelete.restore, user_id, [one.id for one in gone[:pick]], other)

    @rule(user=USERS, place=PLACES, days=st.integers(0, 3), new=st.booleans())
    def mailboxes_come_back(self, user: str, place: str, days: int, new: bool) -> None:
        user_id, at = self.users[user].id, self.clock.now - days * 86_400
        deleted = self.run(self.store.scan(undelete.deleted_mailboxes, user_id))
        with suppress(Conflict):
            if deleted:
                self.allowed(undelete.revive, user_id, deleted[0].id)
        there = self.folder_id(user, place)
        if there is not None:
            box = self.run(self.store.read(mailboxes.get, there))
            if new:
                with suppress(Conflict):
                    target = self.write(mailboxes.create, user_id, "state")
                    self.allowed(undelete.copy_state, there, at, target)
            else:
                self.allowed(undelete.restore_mailbox, box, at=at)
                self.write(undelete.restore_flags, self.run(self.store.read(mailboxes.get, there)), at)
                assert self.write(undelete.restore_flags, self.run(self.store.read(mailboxes.get, there)), at) == 0

    @rule()
    def queue_rows_vanish(self) -> None:
        self.write(lambda tx: tx.run("DELETE FROM message_queue WHERE id % 2 = 0"))

    @rule(hours=st.integers(0, 30), look=st.integers(1, 50), limit=st.integers(1, 5))
    def clean_up(self, hours: int, look: int, limit: int) -> None:
        self.clock.now += hours * 3600
        self.write(undelete.forget, self.clock.now - 86_400, 3)
        self.write(past.forget, self.clock.now - 86_400, 3)
        self.write(mailboxes.purge_deleted, 3, self.clock.now - 86_400)
        self.write(blobs.free_unreferenced, self.clock.now - blobs.KEEP, limit, look)

    @invariant()
    def no_blob_goes_before_its_time(self) -> None:
        there, wanted = self.run(self.store.scan(references))
        assert wanted <= there
        for gone in self.there - there:
            assert self.alone[gone] <= self.clock.now - blobs.KEEP
        self.alone = {blob: self.alone.get(blob, self.clock.now) for blob in there - wanted}
        self.there = there

    @rule()
    def all_is_freed_in_the_end(self) -> None:
        while self.write(mailboxes.purge_deleted) or self.write(undelete.forget, self.clock.now + 1):
            pass
        self.write(blobs.free_unreferenced, 0, 1000, 1000)
        self.write(blobs.free_unreferenced, 0, 1000, 1000)  # the sweep may have been in the middle
        self.no_blob_goes_before_its_time()
        self.clock.now += blobs.KEEP + 1
        self.write(blobs.free_unreferenced, self.clock.now - blobs.KEEP, 1000, 1000)
        there, wanted = self.run(self.store.scan(references))
        assert there == wanted


def test_on_sqlite() -> None:
    run_state_machine_as_test(AccountMachine, settings=stateful(20, 30))


def test_on_postgresql(postgres_url: str) -> None:
    machine = type("PostgresMachine", (AccountMachine,), {"place": postgres_url})
    run_state_machine_as_test(machine, settings=stateful(4, 30))
