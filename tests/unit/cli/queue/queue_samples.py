"""A store with mail in its queue, and the answers of commands about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pillarbox.flow.story import entry
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery, directory, events, open_store
from pillarbox.store.records import Delivery, NewMessage, Queued

CONTENT = b"From: a@x.test\r\nSubject: one\r\nMessage-ID: <1@x.test>\r\n\r\nhello\r\n"
KEYS = ("1M80JNJZZ1X800", "1M80JNJZZ1X801", "1M80JNJZZ1X802")
Run = Callable[..., tuple[int, str, str]]


def message(content: bytes = CONTENT) -> NewMessage:
    return NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))


async def fill(path: Path) -> None:
    """Two messages, three and one recipient, one of them tried; one dead letter; an account with a message."""
    store = await open_store(path)
    await store.write(directory.create_user, "ada@example.com", "ada@example.com", "!")
    one = [Queued("a@x.test", f"{name}@y.test", b"Received: us\r\n", message_key=KEYS[0], destination="mx y.test")
           for name in "bcd"]  # fmt: skip
    await store.write(delivery.deliver, message(), one)
    other = Queued("ada@example.com", "e@z.test", message_key=KEYS[1], destination="mx z.test", user_id=1)
    await store.write(delivery.deliver, message(), [other])
    dead = Queued("", "f@z.test", message_key=KEYS[2], destination="mx z.test")
    await store.write(delivery.deliver, message(), [dead])
    kept = Delivery("ada@example.com", 1)
    (placed,) = await store.write(delivery.deliver, message(), [kept])
    await store.write(
        lambda tx: tx.run(
            "UPDATE message_queue SET status = 'retry', attempts = 2, next_retry_at = 2000000000, "
            "last_error = '451 4.7.1 try later' WHERE to_address = 'c@y.test'"
        )
    )
    await store.write(
        lambda tx: tx.run("UPDATE message_queue SET status = 'failed', next_retry_at = NULL WHERE from_address = ''")
    )
    told = [
        entry(1.7e9, KEYS[0], "queued", sender="a@x.test", recipient="b@y.test", queue_id=1, destination="mx y.test",
              peer="192.0.2.1:4000", hello="mx.x.test", size=len(CONTENT), header_id="<1@x.test>"),
        entry(1.7e9, KEYS[0], "queued", sender="a@x.test", recipient="c@y.test", queue_id=2, destination="mx y.test"),
        entry(1.7e9 + 9, KEYS[0], "deferred", sender="a@x.test", recipient="c@y.test", queue_id=2, tries=1, code=451,
              enhanced="4.7.1", text="try later", stage="RCPT", host="mx.y.test", address="192.0.2.9:25",
              next_at=2_000_000_000),
        entry(1.7e9 + 99, KEYS[1], "delivered", sender="a@x.test", recipient="ada@example.com", mailbox="INBOX",
              mailbox_id=placed.mailbox_id, uid=placed.uid, peer="192.0.2.1:4001"),
    ]  # fmt: skip
    await store.write(events.add_events, told)
    await store.close()


def answer(outcome: tuple[int, str, str]) -> Any:
    status, out, err = outcome
    assert status == 0, err
    return json.loads(out)


def recipients(outcome: tuple[int, str, str]) -> list[str]:
    return [row["to_address"][0] for row in answer(outcome)]


def on(tmp_path: Path, fn: Callable[..., Any], *args: Any) -> Any:
    async def work() -> Any:
        store = await open_store(tmp_path / "smtp.db")
        try:
            return await store.write(fn, *args)
        finally:
            await store.close()

    return asyncio.run(work())
