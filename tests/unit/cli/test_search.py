"""`pillarbox search`."""

import asyncio
import json

from pillarbox.cli.administration import run
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, directory, messages
from pillarbox.store.opening import open_store
from pillarbox.store.records import Delivery, NewMessage

RAW = b"Subject: x\r\n\r\nHow about lunch?\r\n"


async def filled(path):
    store = await open_store(path)
    user = await store.write(directory.create_user, "ada", "ada@example.com", "hash", "scram")
    for _ in range(3):
        message = NewMessage(blobs.pack(RAW), None, analyse(RAW))
        await store.write(messages.deliver, message, [Delivery(user.email, user.id)])
    while await store.search.feed(store):
        pass
    await store.close()


def told(capsys, *words):
    assert run(["search", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_status_and_rebuild(tmp_path, capsys):
    path = tmp_path / "smtp.db"
    asyncio.run(filled(path))
    capsys.readouterr()
    found = told(capsys, "status", "--db", str(path))
    assert (found["indexed"], found["waiting"]) == (3, 0)
    assert told(capsys, "rebuild", "--db", str(path))["waiting"] == 3
    found = told(capsys, "status", "--db", str(path))
    assert (found["indexed"], found["waiting"]) == (0, 3)


def test_a_database_that_is_not_there(tmp_path, capsys):
    assert run(["search", "status", "--db", str(tmp_path / "none.db")]) == 1
    assert not (tmp_path / "none.db").exists()
