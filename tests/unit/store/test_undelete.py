"""Expunged messages and deleted mailboxes come back, within their time and not beyond it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import START, Clock, inbox_of, message, to

from pillarbox.store import (
    Conflict,
    NotFound,
    OverQuota,
    Store,
    annotating,
    blobs,
    directory,
    mailboxes,
    messages,
    past,
    undelete,
)
from pillarbox.store.annotating import Change
from pillarbox.store.records import User

DAY = 86_400


async def put(store: Store, user: User, subject: str, mailbox: str = "INBOX", **more: object) -> int:
    (outcome,) = await store.write(messages.deliver, message(subject), [to(user, mailbox, **more)])
    assert outcome.uid is not None
    return outcome.uid


async def expunge(store: Store, user: User, *uids: int, mailbox: str = "INBOX") -> None:
    box = await store.read(mailboxes.status, user.id, mailbox)
    await store.write(messages.store_flags, box.id, uids, "add", 8)
    assert (await store.write(messages.expunge, box.id, uids)).uids == [*uids]


async def view(store: Store, user: User, mailbox: str = "INBOX") -> list[tuple[int, int, tuple[str, ...], int]]:
    """uid, flags, keywords, internal date."""
    box = await store.read(mailboxes.status, user.id, mailbox)
    view = await store.read(messages.open_view, box.id)
    return [(uid, view.flags[at], view.keywords.get(uid, ()), view.dates[at]) for at, uid in enumerate(view.uids)]


async def quota(store: Store, user: User) -> int:
    found = await store.read(directory.user, user.username)
    assert found is not None
    return found.quota_used


async def test_a_message_comes_back_as_it_was(store: Store, alice: User, clock: Clock) -> None:
    uid = await put(store, alice, "keep me", flags=5, keywords=("$Work", "b"), internal_date=START - 99)
    await put(store, alice, "other")
    before = await quota(store, alice)
    clock.now += 60
    await expunge(store, alice, uid)
    assert await quota(store, alice) < before
    (gone,) = await store.scan(undelete.gone, alice.id)
    assert (gone.mailbox, gone.uid, gone.subject, gone.expunged_at, gone.moved) == (
        "INBOX", uid, "keep me", START + 60, False,
    )  # fmt: skip
    assert await store.write(undelete.restore, alice.id, [gone.id, 999]) == [gone.id]
    assert await view(store, alice) == [(2, 0, (), START), (3, 5, ("$Work", "b"), START - 99)]
    assert await quota(store, alice) == before
    assert await store.scan(undelete.gone, alice.id) == []
    assert await store.write(undelete.restore, alice.id, [gone.id]) == []  # not twice


async def test_into_another_mailbox_and_nobody_elses(store: Store, alice: User, bob: User) -> None:
    await expunge(store, alice, await put(store, alice, "mine"))
    (gone,) = await store.scan(undelete.gone, alice.id)
    assert await store.write(undelete.restore, bob.id, [gone.id]) == []
    with pytest.raises(NotFound):
        await store.write(undelete.restore, alice.id, [gone.id], "Nowhere")
    assert await store.write(undelete.restore, alice.id, [gone.id], "Archive") == [gone.id]
    assert [row[0] for row in await view(store, alice, "Archive")] == [1]
    with pytest.raises(NotFound):
        await store.scan(undelete.gone, alice.id, "Nowhere")


async def test_quota_counts_again(store: Store, alice: User) -> None:
    await expunge(store, alice, await put(store, alice, "one"))
    await put(store, alice, "two")
    await store.write(directory.set_quota, "alice", await quota(store, alice) + 10)
    inbox = await inbox_of(store, alice)
    with pytest.raises(OverQuota):
        await store.write(undelete.restore_mailbox, inbox)
    assert len(await store.scan(undelete.gone, alice.id)) == 1


async def test_a_mailbox_as_of_a_moment(store: Store, alice: User, clock: Clock) -> None:
    first, second, third = [await put(store, alice, subject) for subject in ("a", "b", "c")]
    inbox = await inbox_of(store, alice)
    archive = await store.read(mailboxes.status, alice.id, "Archive")
    clock.now += 100
    then = clock.now
    clock.now += 100
    await expunge(store, alice, first)
    await store.write(messages.move, inbox.id, [second], archive.id)
    late = await put(store, alice, "late")
    clock.now += 100
    await expunge(store, alice, late)
    # A new mailbox gets just what was there; nothing else changes.
    state = await store.write(mailboxes.create, alice.id, "Then")
    assert await store.write(undelete.copy_state, inbox.id, then, state) == 3
    with pytest.raises(Conflict):
        await store.write(undelete.copy_state, inbox.id, then, state)
    assert [row[0] for row in await view(store, alice)] == [third]
    # In place: what was there comes back, also what was moved away. What came later is not touched.
    assert await store.write(undelete.restore_mailbox, await inbox_of(store, alice), at=then) == 2
    assert [row[0] for row in await view(store, alice)] == [third, 5, 6]
    assert [one.subject for one in await store.scan(undelete.gone, alice.id)] == ["late"]
    assert await store.write(undelete.restore_mailbox, await inbox_of(store, alice), at=then) == 0
    # Those that came back were there then, for a second look.
    again = await store.write(mailboxes.create, alice.id, "Again")
    assert await store.write(undelete.copy_state, inbox.id, then, again) == 3
    assert await store.write(undelete.restore_mailbox, await inbox_of(store, alice), since=then) == 1


async def test_a_deleted_mailbox(store: Store, alice: User, clock: Clock) -> None:
    box = await store.write(mailboxes.create, alice.id, "Work/2024")
    await put(store, alice, "one", "Work/2024")
    await expunge(store, alice, await put(store, alice, "two", "Work/2024"), mailbox="Work/2024")
    before = await quota(store, alice)
    clock.now += 10
    await store.write(mailboxes.delete, alice.id, "Work/2024")
    await store.write(mailboxes.delete, alice.id, "Work")
    assert await quota(store, alice) < before
    deleted = await store.scan(undelete.deleted_mailboxes, alice.id)
    assert {one.name: one.message_count for one in deleted} == {"Work": 0, "Work/2024": 1}
    assert await store.write(mailboxes.purge_deleted, 1000, clock.now - DAY) == 0
    assert await store.read(undelete.mailbox_at, alice.id, "Work/2024") == (box.id, True)
    await store.write(mailboxes.create, alice.id, "Work/2024")
    with pytest.raises(Conflict):
        await store.write(undelete.revive, alice.id, box.id)
    back = await store.write(undelete.revive, alice.id, box.id, "Old/2024")
    assert (back.id, back.name, back.message_count) == (box.id, "Old/2024", 1)
    assert back.uidvalidity > box.uidvalidity
    assert await quota(store, alice) == before
    assert [one.mailbox for one in await store.scan(undelete.gone, alice.id)] == ["Old/2024"]
    with pytest.raises(NotFound):
        await store.write(undelete.revive, alice.id, box.id)


async def test_a_mailbox_of_which_rows_are_gone_does_not_come_back(store: Store, alice: User, clock: Clock) -> None:
    box = await store.write(mailboxes.create, alice.id, "Work")
    for subject in ("one", "two"):
        await put(store, alice, subject, "Work")
    await store.write(mailboxes.delete, alice.id, "Work")
    clock.now += 10
    assert await store.write(mailboxes.purge_deleted, 1, clock.now) == 1
    assert await store.scan(undelete.deleted_mailboxes, alice.id) == []
    with pytest.raises(NotFound):
        await store.write(undelete.revive, alice.id, box.id)


async def test_which_mailbox_had_the_name(store: Store, alice: User, clock: Clock) -> None:
    old = await store.write(mailboxes.create, alice.id, "Work")
    clock.now += 100
    await store.write(mailboxes.delete, alice.id, "Work")
    clock.now += 100
    new = await store.write(mailboxes.create, alice.id, "Work")
    assert await store.read(undelete.mailbox_at, alice.id, "Work") == (new.id, False)
    assert await store.read(undelete.mailbox_at, alice.id, "Work", START + 50) == (
        old.id,
        True,
    )
    for moment in (START - 1, START + 150):
        with pytest.raises(NotFound):
            await store.read(undelete.mailbox_at, alice.id, "Work", moment)


async def test_a_moment_has_its_flags_and_annotations(store: Store, alice: User, clock: Clock) -> None:
    uids = [await put(store, alice, subject, flags=1, keywords=("b",)) for subject in ("a", "b", "c", "d")]
    inbox = await inbox_of(store, alice)
    await store.write(annotating.store, inbox.id, alice.id, uids[:2], [Change("/comment", True, b"note")])
    then = clock.now
    clock.now += 10
    await store.write(messages.store_flags, inbox.id, uids, "set", 4, ["x"])
    await store.write(messages.store_flags, inbox.id, uids[1:3], "add", 2, ["y"])
    clock.now += 10
    await store.write(messages.store_flags, inbox.id, uids, "remove", 7, ["x"])
    await expunge(store, alice, uids[0], uids[2])
    late = await put(store, alice, "late")
    before = (1, ("b",))
    state = await store.write(mailboxes.create, alice.id, "Then")
    assert await store.write(undelete.copy_state, inbox.id, then, state) == 4
    assert [row[1:3] for row in await view(store, alice, "Then")] == [before] * 4
    assert [one.uid for one in await store.read(annotating.of, state.id, alice.id, [1, 2, 3, 4])] == [1, 2]
    middle = await store.write(mailboxes.create, alice.id, "Middle")
    assert await store.write(undelete.copy_state, inbox.id, then + 10, middle) == 4
    assert [row[1:3] for row in await view(store, alice, "Middle")] == [
        (4, ("x",)), (6, ("x", "y")), (6, ("x", "y")), (4, ("x",)),
    ]  # fmt: skip
    # In place: those that come back, and those that are there when that is asked for.
    assert await store.write(undelete.restore_mailbox, await inbox_of(store, alice), at=then) == 2
    assert [row[1:3] for row in await view(store, alice)] == [(0, ("y",)), (0, ()), (0, ()), before, before]
    assert await store.write(undelete.restore_flags, await inbox_of(store, alice), then) == 2
    assert [row[1:3] for row in await view(store, alice)] == [before, before, (0, ()), before, before]
    assert (await inbox_of(store, alice)).unseen_count == 1
    assert late == 5


async def test_flags_of_before_last_as_long_as_messages_do(
    store: Store, alice: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await put(store, alice, "a")
    inbox = await inbox_of(store, alice)
    for step in range(5):
        clock.now += 10
        await store.write(messages.store_flags, inbox.id, [uid], "set", 4 if step % 2 else 1)
    assert await store.read(past.flags_at, inbox.id, START, [uid]) == {uid: (0, "")}
    assert await store.read(past.flags_at, inbox.id, START + 20, [uid, 99]) == {uid: (4, "")}
    assert await store.read(past.flags_at, inbox.id, clock.now, [uid]) == {}
    assert await store.write(past.forget, START + 20) == 1
    assert await store.read(past.flags_at, inbox.id, START, [uid]) == {uid: (1, "")}
    assert await store.scan(past.restless) == []
    monkeypatch.setattr(past, "KEPT", 3)
    assert await store.scan(past.restless) == [inbox.id]
    assert await store.write(past.trim, inbox.id) == 1
    monkeypatch.setattr(past, "OCTETS_KEPT", 2 * len("1:1"))
    assert await store.scan(past.restless) == [inbox.id]
    assert await store.write(past.trim, inbox.id) == 1
    assert await store.scan(past.restless) == []
    assert await store.write(past.trim, inbox.id) == 0
    was = "Archive"
    for name in "abcde":
        await store.write(mailboxes.rename, alice.id, was, name)
        clock.now += 10
        was = name
    (mailbox_id,) = await store.scan(past.restless)
    assert await store.write(past.trim, mailbox_id) == 2
    assert await store.scan(past.restless) == []


@given(
    steps=st.lists(st.tuples(st.sets(st.integers(1, 60)), st.integers(0, 3)), max_size=12),
    wanted=st.sets(st.integers(1, 60)),
)
def test_the_first_change_after_a_moment_counts(steps: list[tuple[set[int], int]], wanted: set[int]) -> None:
    rows = [(at, past._joined(sorted(uids)), bits, "", 10 + at) for at, (uids, bits) in enumerate(steps, 1) if uids]

    class Rows:
        def rows(self, _: str, params: tuple[int, int, int]) -> list[tuple[int, str, int, str, int]]:
            return [row for row in rows if (row[4], row[0]) > params[1:]][:3]

    then = past.flags_at(Rows(), 1, 12, wanted)  # type: ignore[arg-type]
    expected: dict[int, tuple[int, str]] = {}
    for _, (uids, bits) in reversed([*enumerate(steps, 1)][2:]):
        expected.update(dict.fromkeys(uids & wanted, (bits, "")))
    assert then == expected


async def test_changes_of_a_second_share_rows_and_stay_apart(store: Store, alice: User, clock: Clock) -> None:
    uids = [await put(store, alice, str(number)) for number in range(4)]
    inbox, dice = await inbox_of(store, alice), random.Random(5)
    now = dict.fromkeys(uids, 0)
    ends: dict[int, dict[int, int]] = {}  # what they had at the end of a second
    for _ in range(150):
        clock.now += dice.random() < 0.15
        some = sorted(dice.sample(uids, dice.choice((1, 1, 1, 2))))
        stored = await store.write(
            messages.store_flags, inbox.id, some, dice.choice(("add", "remove")), 1 << dice.randrange(2)
        )
        now.update({uid: bits for uid, bits, _, _ in stored.changed})
        ends[clock.now] = dict(now)
    for at, then in ends.items():
        found = await store.read(past.flags_at, inbox.id, at, uids)
        assert {uid: found.get(uid, (now[uid], ""))[0] for uid in uids} == then
    assert await store.check() == []


async def test_a_row_is_shared_and_does_not_grow_without_end(store: Store, alice: User, clock: Clock) -> None:
    uids = [await put(store, alice, str(number)) for number in range(2)]
    inbox = await inbox_of(store, alice)
    for _ in range(75):
        for op in ("add", "remove"):
            for uid in uids:
                await store.write(messages.store_flags, inbox.id, [uid], op, 4)
    rows = await store.read(lambda tx: tx.rows("SELECT length(uids) FROM past_flags"))
    assert len(rows) == 150 and await store.read(past.flags_at, inbox.id, clock.now - 1, uids) == dict.fromkeys(
        uids, (0, "")
    )
    for uid in uids * 80:
        await store.write(past.note_flags, inbox.id, [((4, ""), [uid])])
    rows = await store.read(lambda tx: tx.rows("SELECT length(uids) FROM past_flags WHERE id > 150 OR flags = 4"))
    assert 512 <= max(rows)[0] < 520


async def test_mailboxes_are_found_by_the_names_they_had(store: Store, alice: User, clock: Clock) -> None:
    box = await store.write(mailboxes.create, alice.id, "Work/2024")
    await put(store, alice, "one", "Work/2024")
    clock.now += 100
    await store.write(mailboxes.rename, alice.id, "Work", "Old")
    clock.now += 100
    await store.write(mailboxes.rename, alice.id, "Old/2024", "Attic")
    other = await store.write(mailboxes.create, alice.id, "Work/2024")
    clock.now += 100
    await store.write(mailboxes.delete, alice.id, "Attic")

    async def named(at: int) -> dict[str, int]:
        return {one.name: one.id for one in await store.scan(past.mailboxes_at, alice.id, at) if "/" in one.name}

    assert await named(START) == {"Work/2024": box.id}
    assert await named(START + 150) == {"Old/2024": box.id}
    assert await named(START + 250) == {"Work/2024": other.id}
    assert await store.read(undelete.mailbox_at, alice.id, "Work/2024", START + 50) == (box.id, True)
    assert await store.read(undelete.mailbox_at, alice.id, "Attic", START + 250) == (box.id, True)
    assert await store.read(undelete.mailbox_at, alice.id, "Work/2024") == (other.id, False)
    state = await store.write(mailboxes.create, alice.id, "Then")
    assert await store.write(undelete.copy_state, box.id, START, state) == 1
    assert await store.write(past.forget, START + 150) == 2  # Work and what was below it
    assert await named(START) == {"Old/2024": box.id}


@pytest.mark.parametrize("settled", [False, True])
async def test_blobs_stay_for_the_time_and_go_after_it(store: Store, alice: User, clock: Clock, settled: bool) -> None:
    await expunge(store, alice, await put(store, alice, "one"))
    if settled:
        assert await store.write(messages.settle) == 1
    await store.write(mailboxes.create, alice.id, "Work")
    await put(store, alice, "two", "Work")
    await store.write(mailboxes.delete, alice.id, "Work")

    async def clean_up() -> int:
        before = clock.now - 14 * DAY
        while await store.write(undelete.forget, before) or await store.write(mailboxes.purge_deleted, 10, before):
            pass
        return await store.write(blobs.free_unreferenced, clock.now - blobs.KEEP)

    for _ in range(13):
        clock.now += DAY
        assert await clean_up() == 0
    assert len(await store.scan(undelete.gone, alice.id)) == 1
    assert len(await store.scan(undelete.deleted_mailboxes, alice.id)) == 1
    clock.now += DAY + 1
    assert await clean_up() == 0  # noted now, and views that are open have a day more
    assert await store.scan(undelete.gone, alice.id) == []
    assert await store.scan(undelete.deleted_mailboxes, alice.id) == []
    clock.now += DAY + 1
    assert await clean_up() == 2


async def test_history_is_trimmed_around_what_can_come_back(store: Store, alice: User, clock: Clock) -> None:
    for number in range(6):
        await expunge(store, alice, await put(store, alice, str(number)))
        clock.now += 10
    inbox = await inbox_of(store, alice)
    assert await store.write(undelete.forget, START + 20) == 2
    assert await store.write(messages.trim_history, inbox.id, 1) == 2
    assert len(await store.scan(undelete.gone, alice.id)) == 4


async def test_an_account_that_is_gone_takes_its_deleted_mailboxes_along(store: Store, alice: User) -> None:
    await store.write(mailboxes.create, alice.id, "Work")
    await store.write(mailboxes.delete, alice.id, "Work")
    await store.write(directory.delete_user, "alice")
    while await store.write(mailboxes.purge_deleted, 100, 0):
        pass
    assert await store.read(lambda tx: tx.rows("SELECT id FROM mailboxes")) == []
