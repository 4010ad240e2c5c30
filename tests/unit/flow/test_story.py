"""Notes about messages: written in batches, bounded, in nobody's way; and what `pillarbox trace` makes of them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from pillarbox.flow import story, telling
from pillarbox.flow.story import Story, entry
from pillarbox.store import Busy, StoreError, open_store
from pillarbox.store.records import Event

KEY = "1M80JNJZZ1X800"


class FakeStore:
    """Keeps what is written; raises `error` while it is set."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.writes = 0
        self.error: Exception | None = None

    async def write(self, fn: Any, events: list[Event]) -> None:
        self.writes += 1
        if self.error is not None:
            raise self.error
        self.events += events


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def notes(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(story, "DELAY", 0.0)
    monkeypatch.setattr(story, "RETRY", 0.0)
    return Story(store, Clock(1_800_000_000.25))  # type: ignore[arg-type]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_notes_of_a_moment_are_one_write(notes: Story, store: FakeStore) -> None:
    for n in range(500):
        notes.note(KEY, "accepted", sender=f"{n}@x.test", size=n, tls="", code=0)
    assert store.writes == 0
    await asyncio.sleep(0.01)
    assert store.writes == 1 and len(store.events) == 500
    assert store.events[0] == Event(1_800_000_000_250, KEY, "accepted", "0@x.test", "")
    assert json.loads(store.events[7].detail) == {"size": 7}


async def test_what_cannot_be_written_now_is_written_later(notes: Story, store: FakeStore) -> None:
    store.error = Busy("somebody else writes")
    notes.note(KEY, "accepted")
    await asyncio.sleep(0.01)
    assert store.events == [] and store.writes > 1
    store.error = None
    notes.note(KEY, "queued")
    await asyncio.sleep(0.01)
    assert [event.kind for event in store.events] == ["accepted", "queued"]


async def test_what_can_never_be_written_is_dropped(notes: Story, store: FakeStore) -> None:
    store.error = StoreError("no such table")
    notes.note(KEY, "accepted")
    await asyncio.sleep(0.01)
    writes = store.writes
    await asyncio.sleep(0.01)
    assert store.writes == writes == 1


async def test_memory_is_bounded(notes: Story, store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "MOST", 10)
    for _ in range(25):
        notes.note(KEY, "accepted")
    await notes.flush()
    assert len(store.events) == 10
    notes.note(KEY, "accepted")
    await notes.flush()
    assert len(store.events) == 11


async def test_a_flood_of_refusals_is_thinned(store: FakeStore) -> None:
    clock = Clock(1_800_000_000.25)
    notes = Story(store, clock)  # type: ignore[arg-type]
    for _ in range(10_000):
        notes.note(KEY, "refused")
    notes.note(KEY, "accepted")
    await notes.flush()
    assert len(store.events) == story.REFUSALS + 1
    clock.now += 10
    for _ in range(10_000):
        notes.note(KEY, "refused")
    await notes.close()
    assert len(store.events) == story.REFUSALS + 1 + 10 * story.REFUSALS_A_SECOND


async def test_close_writes_the_rest_and_takes_no_more(store: FakeStore) -> None:
    notes = Story(store)  # type: ignore[arg-type]
    notes.note(KEY, "accepted")
    await notes.close()
    assert len(store.events) == 1
    notes.note(KEY, "accepted")
    await notes.close()
    assert len(store.events) == 1


async def test_close_does_not_wait_for_a_store_that_is_busy(store: FakeStore) -> None:
    notes = Story(store)  # type: ignore[arg-type]
    store.error = Busy("locked")
    notes.note(KEY, "accepted")
    async with asyncio.timeout(1):
        await notes.close()
    assert store.events == [] and store.writes == 1


async def test_who_waits_for_the_commit_that_has_the_notes_may_close(
    notes: Story, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another job of the worker does: it closes in the turn of the loop in which that write ends."""
    commit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    shield, awaited = asyncio.shield, 0

    async def write(fn: Any, events: list[Event]) -> None:
        await commit
        store.events += events

    def counted(task: asyncio.Future[None]) -> asyncio.Future[None]:
        nonlocal awaited
        awaited += 1
        assert awaited < 10, "nobody else runs any more"
        return shield(task)

    async def another() -> None:
        await commit
        await notes.close()

    monkeypatch.setattr(store, "write", write)
    monkeypatch.setattr(story.asyncio, "shield", counted)
    notes.note(KEY, "accepted")
    await settled()
    waiting = asyncio.ensure_future(another())
    await settled()
    commit.set_result(None)
    await waiting
    assert len(store.events) == 1


async def test_on_a_real_store(tmp_path: Path) -> None:
    real = await open_store(tmp_path / "smtp.db")
    notes = Story(real)
    notes.note(KEY, "refused", sender="a@x", recipient="b\0y\ud800", text="né\ud800\0", queue_id=7)
    await notes.close()
    (row,) = await real.scan(lambda tx: tx.rows("SELECT kind, sender, recipient, queue_id FROM message_events"))
    assert row == ("refused", "a@x", "b\ufffdy?", 7)
    await real.close()


EVENTS = [
    entry(10.0, KEY, "queued", sender="a@x.test", recipient="b@y.test", queue_id=12, destination="mx y.test",
          peer="192.0.2.1:4000", hello="mail.x.test", tls="TLSv1.3 AES", size=100, header_id="<1@x.test>"),
    entry(10.0, KEY, "delivered", sender="a@x.test", recipient="c@z.test", mailbox="INBOX", mailbox_id=1, uid=3),
    entry(11.5, KEY, "deferred", sender="a@x.test", recipient="b@y.test", queue_id=12, tries=1, stage="RCPT",
          code=451, enhanced="4.7.1", text="greylisted", host="mx.y.test", address="192.0.2.9:25", tls="TLSv1.3",
          next_at=311),
    entry(320.0, KEY, "retried", sender="a@x.test", recipient="b@y.test", queue_id=12, operator="ada"),
    entry(321.0, KEY, "bounced", sender="a@x.test", recipient="b@y.test", queue_id=12, tries=2, stage="END",
          code=550, enhanced="5.7.1", text="spam", host="mx.y.test", address="192.0.2.9:25", reported="failed"),
    entry(321.0, KEY, "report", recipient="a@x.test", about="failed"),
]  # fmt: skip


def test_sentences() -> None:
    assert next(iter(telling.sentences(EVENTS[::-1])))[0] == 10_000
    assert [text for _, text in telling.sentences(EVENTS)] == [
        "accepted from 192.0.2.1:4000 (mail.x.test), TLSv1.3 AES",
        "queued for b@y.test to mx y.test (entry 12)",
        "delivered to c@z.test, mailbox INBOX",
        "not yet sent to b@y.test at mx.y.test [192.0.2.9:25], TLSv1.3, try 1: 451 4.7.1 greylisted (after RCPT); "
        "next try 1970-01-01 00:05:11Z",
        "retried for b@y.test (entry 12) by ada",
        "given up for b@y.test at mx.y.test [192.0.2.9:25], in the clear, try 2: 550 5.7.1 spam (after end of data), "
        "its sender was told",
        "a report about a failure went to a@x.test",
    ]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (entry(1, KEY, "refused", recipient="b@y", stage="RCPT", code=550, enhanced="5.1.1", text="no", peer="local"),
         "refused the recipient b@y: 550 5.1.1 no (after RCPT); it came from local"),
        (entry(1, KEY, "refused", stage="MAIL", code=530, text="TLS first"),
         "refused the sender: 530 TLS first (after MAIL)"),
        (entry(1, KEY, "refused", stage="END", code=552, text="big"),
         "refused the message: 552 big (after end of data)"),
        (entry(1, KEY, "deferred", recipient="b@y", stage="CONNECT", code=451, text="no", host="mx.y"),
         "not yet sent to b@y at mx.y: 451 no (after CONNECT)"),
        (entry(1, KEY, "accepted", peer="uid 0", via="sendmail", user=""), "accepted from uid 0 by sendmail"),
        (entry(1, KEY, "held", recipient="b@y", queue_id=3, operator="root"), "held for b@y (entry 3) by root"),
        (entry(1, KEY, "held", text="nobody can be told"), "held: nobody can be told"),
        (entry(1, KEY, "expired", recipient="b@y", stage="POLICY", code=554, text="too old"),
         "given up for b@y by its age: 554 too old, nobody was told"),
        (entry(1, KEY, "something new", recipient="b@y", surprise="yes"), "something new for b@y [surprise yes]"),
        (Event(1, KEY, "bounced", recipient="b@y", detail="not JSON"), "given up for b@y: , nobody was told"),
    ],
)  # fmt: skip
def test_other_sentences(event: Event, expected: str) -> None:
    assert [text for _, text in telling.sentences([event])] == [expected]


@given(
    st.sampled_from([*story.KINDS, "x"]),
    st.dictionaries(
        st.sampled_from(sorted(telling._TOLD)), st.one_of(st.text(), st.integers(0, 2**33), st.booleans()), max_size=6
    ),
)
def test_any_facts_can_be_told(kind: str, facts: dict[str, Any]) -> None:
    times = {"next_at", "not_before"}
    facts = {name: value for name, value in facts.items() if name not in times or type(value) is int}
    texts = {"peer", "stage"}
    facts = {name: value for name, value in facts.items() if name not in texts or isinstance(value, str)}
    event = Event(1, KEY, kind, detail=json.dumps(facts))
    assert all(re.search(r"\S", text) for _, text in telling.sentences([event]))
