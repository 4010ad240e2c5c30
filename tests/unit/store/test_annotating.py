"""Annotations of messages: who sees them, what they count, where they go with COPY, MOVE and EXPUNGE."""

import pytest
from store_samples import inbox_of, message, to

from pillarbox.store import (
    NotFound,
    OverQuota,
    Store,
    Tx,
    annotating,
    directory,
    mailboxes,
    messages,
    past_annotations,
    undelete,
)
from pillarbox.store.annotating import Carried, Change, Note, TooLarge, TooMany
from pillarbox.store.records import Mailbox, User

HERS = Change("/comment", False, b"mine")
ALL = Change("/comment", True, b"everybody's")


async def three(store: Store, user: User) -> tuple[Mailbox, Mailbox]:
    await store.write(messages.deliver, message(), [to(user) for _ in range(3)])
    return await inbox_of(store, user), await store.read(mailboxes.status, user.id, "Archive")


async def octets(store: Store, mailbox_id: int) -> int:
    row = await store.read(lambda tx: tx.row("SELECT annotation_octets FROM mailboxes WHERE id = ?", (mailbox_id,)))
    return int(row[0])


async def seen(store: Store, mailbox_id: int, user: User) -> list[tuple[int, str, bool, bytes]]:
    return [tuple(note) for note in await store.read(annotating.of, mailbox_id, user.id, range(1, 20))]


async def test_an_account_sees_its_own_and_everybodys(store: Store, alice: User, bob: User) -> None:
    inbox, _ = await three(store, alice)
    done = await store.write(annotating.store, inbox.id, alice.id, [1, 2, 99], [HERS, ALL])
    box = await inbox_of(store, alice)
    assert done.modseq == box.highestmodseq > inbox.highestmodseq
    assert [one[0] for one in done.changed] == [1, 2] and done.refused == []
    await store.write(annotating.store, inbox.id, bob.id, [2], [Change("/altsubject", False, b"\0")])
    both = [(1, "/comment", False, b"mine"), (1, "/comment", True, b"everybody's")]
    assert await seen(store, inbox.id, alice) == [*both, *((2, *rest) for _, *rest in both)]
    assert await seen(store, inbox.id, bob) == [
        (1, "/comment", True, b"everybody's"),
        (2, "/altsubject", False, b"\0"),
        (2, "/comment", True, b"everybody's"),
    ]
    assert await store.read(annotating.annotated, inbox.id, bob.id, [1, 2, 3]) == {1: 19, 2: 19 + 12}
    assert await store.read(annotating.values, inbox.id, alice.id, "/comment", False) == {1: b"mine", 2: b"mine"}
    assert await store.read(annotating.values, inbox.id, bob.id, "/comment", False) == {}
    assert await octets(store, inbox.id) == 2 * (len("/comment") * 2 + 4 + 11) + len("/altsubject") + 1


async def test_messages_changed_since_are_refused(store: Store, alice: User) -> None:
    inbox, _ = await three(store, alice)
    await store.write(messages.store_flags, inbox.id, [2], "add", 1)
    done = await store.write(annotating.store, inbox.id, alice.id, [1, 2], [HERS], inbox.highestmodseq)
    assert [one[0] for one in done.changed] == [1] and done.refused == [2]
    assert [one[0] for one in await seen(store, inbox.id, alice)] == [1]
    with pytest.raises(NotFound):
        await store.write(annotating.store, 999, alice.id, [1], [HERS])


async def test_what_is_removed_is_told_and_counts_no_more(store: Store, alice: User, bob: User) -> None:
    inbox, _ = await three(store, alice)
    first = await store.write(annotating.store, inbox.id, alice.id, [1], [HERS, ALL])
    second = await store.write(
        annotating.store, inbox.id, alice.id, [1], [ALL._replace(value=None), HERS._replace(value=b"")]
    )
    assert await seen(store, inbox.id, alice) == [(1, "/comment", False, b"")]
    assert await octets(store, inbox.id) == len("/comment")
    told = await store.read(annotating.changed, inbox.id, bob.id, first.modseq)
    assert told == [(1, "/comment", second.modseq)]
    assert len(await store.read(annotating.changed, inbox.id, alice.id, first.modseq)) == 2
    assert await store.read(annotating.changed, inbox.id, alice.id, second.modseq) == []


async def test_removals_are_not_remembered_without_end(
    store: Store, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotating, "MAX_ENTRIES", 3)
    inbox, _ = await three(store, alice)
    for n in range(20):
        for value in (b"x", None):
            await store.write(annotating.store, inbox.id, alice.id, [1, 2], [Change(f"/vendor/x/{n}", True, value)])
    rows = await store.read(lambda tx: tx.row("SELECT count(*) FROM annotations"))
    assert rows[0] <= 2 * 4
    assert await octets(store, inbox.id) == 0


async def test_what_cannot_fit_is_not_written_first(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, _ = await three(store, alice)
    monkeypatch.setattr(annotating, "MAX_OCTETS", 3 * (len("/comment") + 10) - 1)
    one, written = Change("/comment", False, b"x" * 10), []

    def noted(tx: Tx, uids: list[int]) -> None:
        with monkeypatch.context() as patched:
            run = type(tx).run
            patched.setattr(type(tx), "run", lambda tx, sql, *rest: (written.append(sql), run(tx, sql, *rest))[1])
            annotating.put(tx, inbox.id, alice.id, alice.id, uids, [one._replace(value=b"y"), one], 7)

    with pytest.raises(OverQuota):
        await store.write(noted, [1, 2, 3])
    assert not written
    await store.write(noted, [1, 2])
    assert len([sql for sql in written if sql.startswith("INSERT")]) == 1  # an entry that is named twice: the last one
    assert await octets(store, inbox.id) == 2 * (len("/comment") + 10)


async def test_limits(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, archive = await three(store, alice)
    with pytest.raises(TooLarge):
        await store.write(annotating.store, inbox.id, alice.id, [1], [HERS._replace(value=b"x" * 65537)])
    monkeypatch.setattr(annotating, "MAX_ENTRIES", 2)
    some = [Change(f"/vendor/x/{n}", shared, b"1") for n in range(2) for shared in (False, True)]
    await store.write(annotating.store, inbox.id, alice.id, [1], some)
    with pytest.raises(TooMany):
        await store.write(annotating.store, inbox.id, alice.id, [1, 2], [HERS])
    await store.write(annotating.store, inbox.id, alice.id, [1], [some[0]._replace(value=b"2")])
    assert await store.read(annotating.annotated, inbox.id, alice.id, [1, 2]) == {1: 4 * 12}
    monkeypatch.setattr(annotating, "MAX_OCTETS", await octets(store, inbox.id) + 20)
    with pytest.raises(OverQuota):
        await store.write(annotating.store, inbox.id, alice.id, [2, 3], [HERS])
    with pytest.raises(OverQuota):
        await store.write(messages.copy, inbox.id, [1], archive.id)
    await store.write(messages.move, inbox.id, [1], archive.id)  # takes no more room than before
    assert await octets(store, inbox.id) == 0


async def test_copies_take_along_what_they_may(store: Store, alice: User, bob: User) -> None:
    inbox, archive = await three(store, alice)
    await store.write(annotating.store, inbox.id, alice.id, [2], [HERS, ALL])
    await store.write(annotating.store, inbox.id, bob.id, [2], [Change("/altsubject", False, b"bob's")])
    for what, expected in (
        (Carried(alice.id), [HERS, ALL]),
        (Carried(alice.id, shared=False), [HERS]),
        (Carried(alice.id, private=False), [ALL]),
        (Carried(bob.id, shared=False), []),
        (Carried(alice.id, shared=False, private=False), []),
    ):
        done = await store.write(messages.copy, inbox.id, [1, 2, 3], archive.id, what)
        uid = done.uids[1][1]
        notes = await store.read(annotating.of, archive.id, alice.id, [one for _, one in done.uids])
        assert notes == [Note(uid, *one) for one in expected]
    notes = await store.read(annotating.of, archive.id, bob.id, range(1, 100))
    assert {note.entry for note in notes if not note.shared} == {"/altsubject"}  # by bob's own copy


async def past_octets(store: Store) -> int:
    row = await store.read(lambda tx: tx.row("SELECT coalesce(sum(past_octets), 0) FROM mailboxes"))
    return int(row[0])


async def test_they_leave_with_the_message_and_come_back_with_it(store: Store, alice: User, bob: User) -> None:
    inbox, archive = await three(store, alice)
    await store.write(annotating.store, inbox.id, alice.id, [1, 2, 3], [HERS, ALL])
    await store.write(annotating.store, inbox.id, bob.id, [1], [Change("/altsubject", False, b"his")])
    await store.write(annotating.store, inbox.id, alice.id, [1], [Change("/comment", False, None)])
    await store.write(messages.store_flags, inbox.id, [1], "add", 8)
    await store.write(messages.expunge, inbox.id)
    assert [one[0] for one in await seen(store, inbox.id, alice)] == [2, 2, 3, 3]
    await store.write(messages.move, inbox.id, [2], archive.id)
    assert [one[0] for one in await seen(store, inbox.id, alice)] == [3, 3]
    assert len(await seen(store, archive.id, alice)) == 2
    assert await past_octets(store) > 0
    await store.write(undelete.restore_mailbox, await inbox_of(store, alice))
    mine = [(3, "/comment", False, b"mine"), (3, "/comment", True, b"everybody's")]
    assert await seen(store, inbox.id, alice) == [*mine, (4, "/comment", True, b"everybody's")]
    assert (4, "/altsubject", False, b"his") in await seen(store, inbox.id, bob)
    changed = await store.read(annotating.changed, inbox.id, alice.id, 0)
    assert {modseq for uid, _, modseq in changed if uid == 4} == {(await inbox_of(store, alice)).highestmodseq}
    held = await past_octets(store)
    await store.write(lambda tx: tx.run("UPDATE expunged SET expunged_at = NULL"))  # as an older program does
    assert [await store.write(past_annotations.drop, one) for one in await store.scan(past_annotations.orphans)] == [1]
    assert held > 0 == await past_octets(store)


async def test_they_end_when_the_message_cannot_come_back(store: Store, alice: User) -> None:
    inbox, _ = await three(store, alice)
    await store.write(annotating.store, inbox.id, alice.id, [1, 2], [HERS])
    await store.write(messages.store_flags, inbox.id, [1, 2], "add", 8)
    await store.write(messages.expunge, inbox.id)
    assert await past_octets(store) == 2 * len("/commentmine")
    assert await store.write(undelete.forget, 1 << 40, 1) == 1
    assert await past_octets(store) == len("/commentmine")
    assert await store.scan(past_annotations.orphans) == []
    assert await store.write(undelete.forget, 1 << 40) == 1
    assert await past_octets(store) == 0


async def test_past_ones_have_their_limit(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, archive = await three(store, alice)
    monkeypatch.setattr(annotating, "MAX_OCTETS", 100)
    await store.write(annotating.store, inbox.id, alice.id, [1, 2, 3], [HERS, ALL])
    there, here, uids = archive, inbox, [1, 2, 3]
    for _ in range(4):  # moving to and fro keeps no more and loses nothing of what is there
        copied = await store.write(messages.move, here.id, uids, there.id)
        here, there, uids = there, here, [uid for _, uid in copied.uids]
    assert 0 < await past_octets(store) <= 100
    assert len(await seen(store, here.id, alice)) == 6
    await store.write(directory.delete_user, "alice")
    assert await past_octets(store) == 3 * len("/commenteverybody's")  # her own went at once
    while await store.write(mailboxes.purge_deleted):
        pass
    assert await store.read(lambda tx: tx.rows("SELECT id FROM past_annotations")) == []


async def test_they_go_with_the_mailbox(store: Store, alice: User) -> None:
    inbox, _ = await three(store, alice)
    await store.write(annotating.store, inbox.id, alice.id, [1], [HERS])
    await store.write(mailboxes.rename, alice.id, "INBOX", "Old")  # its messages move, RFC 9051 section 6.3.6
    old = await store.read(mailboxes.status, alice.id, "Old")
    assert await seen(store, old.id, alice) == [(1, "/comment", False, b"mine")]
    await store.write(mailboxes.delete, alice.id, "Old")
    await store.write(undelete.revive, alice.id, old.id)
    assert await seen(store, old.id, alice) == [(1, "/comment", False, b"mine")]
    await store.write(mailboxes.delete, alice.id, "Old")
    while await store.write(mailboxes.purge_deleted):
        pass
    assert await store.read(lambda tx: tx.row("SELECT count(*) FROM annotations")) == (0,)


async def test_an_account_that_goes_takes_its_own_along(store: Store, alice: User, bob: User) -> None:
    inbox, _ = await three(store, alice)
    await store.write(annotating.store, inbox.id, bob.id, [1], [Change("/comment", False, b"x" * 50), ALL])
    await store.write(directory.delete_user, "bob")
    assert await seen(store, inbox.id, alice) == [(1, "/comment", True, b"everybody's")]
    assert await octets(store, inbox.id) == len("/comment") + 11


async def test_what_a_search_finds(store: Store, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotating, "_PAGE", 3)
    inbox, _ = await three(store, alice)
    await store.write(annotating.store, inbox.id, alice.id, [1, 2, 3], [HERS])
    await store.write(annotating.store, inbox.id, alice.id, [3], [ALL])
    await store.write(annotating.store, inbox.id, alice.id, [1], [HERS._replace(value=None)])
    found = await store.scan(annotating.found, inbox.id, alice.id, lambda note: b"mine" in note.value)
    assert found == {2, 3}
    assert await store.scan(annotating.found, inbox.id, bob.id, lambda note: True) == {3}
