"""Mail about quotas: once for each threshold, and again when there was room in between."""

import pytest

from empty_store import put_empty_store
from pillarbox.flow.quota_warning import due, in_words, level_of, thresholds_of, warn
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, directory, mailboxes, messages, open_store, quota
from pillarbox.store.records import NewMessage

THRESHOLDS = thresholds_of("80 95")


@pytest.fixture
async def store(tmp_path):
    put_empty_store(tmp_path / "smtp.db")
    opened = await open_store(tmp_path / "smtp.db")
    await opened.write(directory.create_user, "ada@example.com", "ada@example.com", "!")
    yield opened
    assert await opened.check() == []
    await opened.close()


async def fill(store, count):
    content = b"Subject: x\r\n\r\nx\r\n"
    box = await store.read(mailboxes.find, 1, "Archive")
    for _ in range(count):
        await store.write(messages.append, box.id, NewMessage(blobs.pack(content), None, analyse(content)))


async def empty(store, count):
    box = await store.read(mailboxes.find, 1, "Archive")
    uids = [*(await store.read(messages.open_view, box.id)).uids][:count]
    await store.write(messages.store_flags, box.id, uids, "add", 8)
    await store.write(messages.expunge, box.id)


async def run(store):
    """How many mails were made."""
    return sum(
        [await store.write(warn, one, THRESHOLDS, "mx.example.com") for one in await store.read(due, THRESHOLDS)]
    )


async def told(store):
    box = await store.read(mailboxes.find, 1, "INBOX")
    view = await store.read(messages.open_view, box.id)
    return [row.subject for row in await store.read(messages.rendered, list(view.ids))]


async def test_once_for_each_threshold(store):
    await store.write(quota.set_limits, "user/ada@example.com", messages=100)
    await fill(store, 79)
    assert await run(store) == 0
    await fill(store, 1)
    assert [await run(store), await run(store)] == [1, 0]
    await fill(store, 19)  # with the warning itself that is all there may be
    assert [await run(store), await run(store)] == [1, 0]
    assert await told(store) == ["Your mailbox is 80 % full", "Your mailbox is 100 % full"]
    (root,) = await store.read(quota.roots, 1)
    assert root.messages == (101, 100)  # the warning went in all the same
    await empty(store, 8)
    assert await run(store) == 0
    await empty(store, 30)
    assert await run(store) == 0
    await fill(store, 20)
    assert await run(store) == 1


async def test_the_postmaster_hears_of_a_domain(store):
    await store.write(directory.create_domain, "example.com")
    await store.write(quota.set_limits, "domain/example.com", messages=10)
    await fill(store, 8)
    assert [await run(store), await run(store)] == [1, 0]
    assert await told(store) == ["The mail of example.com is 80 % full"]


@pytest.mark.parametrize(
    ("percent", "warned", "level"),
    [(79, 0, 0), (80, 0, 80), (200, 0, 95), (78, 80, 80), (75, 80, 0), (91, 95, 95), (90, 95, 80), (0, 0, 0)],
)
def test_levels(percent, warned, level):
    assert level_of(percent, warned, THRESHOLDS) == level


def test_sizes_in_words():
    assert [in_words(size) for size in (0, 1023, 1024, 5 << 20, 3 << 50)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KB",
        "5.0 MB",
        "3072.0 TB",
    ]
