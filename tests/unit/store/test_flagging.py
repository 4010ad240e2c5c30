"""store_flags: set, add, remove, UNCHANGEDSINCE, keywords without regard to case."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import Invalid, NotFound, Store, messages
from pillarbox.store.flags import join_keywords, split_keywords
from pillarbox.store.records import User


async def three(store: Store, user: User) -> int:
    await store.write(messages.deliver, message(), [to(user), to(user, flags=1), to(user, flags=5, keywords=("Work",))])
    return (await inbox_of(store, user)).id


async def state(store: Store, mailbox_id: int) -> list[tuple[int, int, tuple[str, ...]]]:
    view = await store.read(messages.open_view, mailbox_id)
    return [(uid, bits, view.keywords.get(uid, ())) for uid, bits in zip(view.uids, view.flags, strict=True)]


async def test_add(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    done = await store.write(messages.store_flags, inbox, [1, 2, 3, 9], "add", 1, ["work", "New"])
    assert [uid for uid, *_ in done.changed] == [1, 2, 3]
    assert done.refused == []
    assert await state(store, inbox) == [(1, 1, ("New", "work")), (2, 1, ("New", "work")), (3, 5, ("New", "Work"))]


async def test_remove(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    done = await store.write(messages.store_flags, inbox, [1, 2, 3], "remove", 1, ["WORK"])
    assert [change[:3] for change in done.changed] == [(2, 0, ()), (3, 4, ())]
    assert await state(store, inbox) == [(1, 0, ()), (2, 0, ()), (3, 4, ())]


async def test_set_keeps_the_spelling_that_was_there(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    await store.write(messages.store_flags, inbox, [1, 3], "set", 8, ["WORK", "b"])
    assert await state(store, inbox) == [(1, 8, ("b", "WORK")), (2, 1, ()), (3, 8, ("b", "Work"))]
    assert (await inbox_of(store, alice)).deleted_count == 2


async def test_nothing_to_change_draws_no_number(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    before = await inbox_of(store, alice)
    done = await store.write(messages.store_flags, inbox, [2, 3], "add", 1)
    assert (done.changed, done.modseq) == ([], before.highestmodseq)
    assert await store.read(messages.unchanged_flags, inbox, [2, 3], "add", 1) == done
    assert await inbox_of(store, alice) == before


async def test_reading_tells_whether_something_would_change(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    unchanged = messages.unchanged_flags
    assert await store.read(unchanged, inbox, [1, 2], "add", 1) is None
    assert await store.read(unchanged, inbox, [3], "add", 1, ["work"]) is not None
    assert await store.read(unchanged, inbox, [3], "add", 1, ["other"]) is None
    assert await store.read(unchanged, inbox, [2], "set", 1) is not None
    assert await store.read(unchanged, inbox, [1], "remove", 1, mask=4) is not None
    seen = await store.read(unchanged, inbox, [2, 9], "add", 1, (), 0)
    assert seen is not None
    assert seen.refused == [2]
    with pytest.raises(Invalid):
        await store.read(unchanged, inbox, [1], "add", 1, ["two words"])
    with pytest.raises(NotFound):
        await store.read(unchanged, inbox + 99, [1], "add", 1)


async def test_unchanged_since_refuses_what_changed_later(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    seen = (await inbox_of(store, alice)).highestmodseq
    await store.write(messages.store_flags, inbox, [2], "add", 4)
    done = await store.write(messages.store_flags, inbox, [1, 2], "add", 2, (), seen)
    assert done.refused == [2]
    assert [(uid, bits) for uid, bits, *_ in done.changed] == [(1, 2)]
    assert done.modseq == done.changed[0][3] == (await inbox_of(store, alice)).highestmodseq


async def test_other_bits_than_the_five_are_dropped(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    await store.write(messages.store_flags, inbox, [1], "add", 0xFFFF)
    assert (await state(store, inbox))[0][1] == 31


async def test_bad_keywords(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    for keyword in ("", "a b", "a\n", "x" * 201):
        with pytest.raises(Invalid):
            await store.write(messages.store_flags, inbox, [1], "add", 0, [keyword])


async def test_too_many_keywords(store: Store, alice: User) -> None:
    inbox = await three(store, alice)
    await store.write(messages.store_flags, inbox, [1], "add", 0, [f"k{n}" for n in range(100)])
    with pytest.raises(Invalid):
        await store.write(messages.store_flags, inbox, [1], "add", 0, ["one-more"])


def test_keyword_text() -> None:
    assert join_keywords(["b", "A", "B", "a"]) == "A b"
    assert split_keywords("A b") == ("A", "b")
    assert split_keywords("") == ()


async def test_many_different_flags_at_once(store: Store, alice: User) -> None:
    plans = [to(alice, flags=at % 3, keywords=(f"k{at // 3}",)) for at in range(90)]
    plans += [to(alice) for _ in range(40)]
    await store.write(messages.deliver, message(), plans)
    inbox = await inbox_of(store, alice)
    before = await state(store, inbox.id)
    done = await store.write(messages.store_flags, inbox.id, range(1, 131), "add", 4, ["All"])
    assert [change[0] for change in done.changed] == [*range(1, 131)]
    assert {change[3] for change in done.changed} == {done.modseq}
    after = await state(store, inbox.id)
    assert after == [(uid, bits | 4, tuple(sorted((*words, "All"), key=str.lower))) for uid, bits, words in before]
    assert [(uid, bits, words) for uid, bits, words, _ in done.changed] == after
    assert (await inbox_of(store, alice)).unseen_count == inbox.unseen_count
