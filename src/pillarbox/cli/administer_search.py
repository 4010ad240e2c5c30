"""`pillarbox search`: the index of words that BODY and TEXT are found by."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pillarbox.cli.accounts import NoDatabase
from pillarbox.cli.command_line import AsJson, Database, group, path_of
from pillarbox.cli.tables import print_done, print_one
from pillarbox.store.opening import open_store
from pillarbox.store.search_index import Status

app = group("The search index. It is derived from the messages; what is not in it yet is read when somebody searches.")


@app.command()
def status(db: Database = None, as_json: AsJson = False) -> None:
    """How many messages are indexed, and how many wait."""
    found = asyncio.run(_status(_place(db)))
    print_one({"indexed": found.indexed, "waiting": found.waiting}, as_json=as_json)


@app.command()
def rebuild(db: Database = None, as_json: AsJson = False) -> None:
    """Forget the index and make it anew: by the running server in the background, else when it starts."""
    waiting = asyncio.run(_rebuild(_place(db))).waiting
    print_done(f"The search index is empty; {waiting} messages wait for it", {"waiting": waiting}, as_json=as_json)


def _place(db: Path | None) -> Path:
    path = path_of(db)
    if not path.exists():
        raise NoDatabase(path)
    return path


async def _status(path: Path) -> Status:
    store = await open_store(path)
    try:
        return await store.search.status(store)
    finally:
        await store.close()


async def _rebuild(path: Path) -> Status:
    store = await open_store(path)
    try:
        await store.search.rebuild(store)
        return await store.search.status(store)
    finally:
        await store.close()
