"""`pillarbox search`: the index of words that BODY and TEXT are found by."""

from __future__ import annotations

from pillarbox.cli import accounts
from pillarbox.cli.command_line import AsJson, Database, group
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_one
from pillarbox.store.search_index import Status
from pillarbox.store.store import Store

app = group("The search index. It is derived from the messages; what is not in it yet is read when somebody searches.")


@app.command()
def status(db: Database = None, as_json: AsJson = False) -> None:
    """How many messages are indexed, and how many wait."""
    found = accounts.on_store(store_of(db), lambda store: store.search.status(store), create=False)
    print_one({"indexed": found.indexed, "waiting": found.waiting}, as_json=as_json)


@app.command()
def rebuild(db: Database = None, as_json: AsJson = False) -> None:
    """Forget the index and make it anew: by the running server in the background, else when it starts."""
    waiting = accounts.on_store(store_of(db), _rebuild, create=False).waiting
    print_done(f"The search index is empty; {waiting} messages wait for it", {"waiting": waiting}, as_json=as_json)


async def _rebuild(store: Store) -> Status:
    await store.search.rebuild(store)
    return await store.search.status(store)
