"""What the search index says about the texts of a search program, as masks over the session's columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pillarbox.imap import search
from pillarbox.mime.words import sought
from pillarbox.session.imap_search_plan import Asked, Looked, name_of
from pillarbox.session.imap_selected import Selected
from pillarbox.store.search_index import Sought

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


async def looked_up(session: ImapSession, key: search.Key, selected: Selected) -> dict[Asked, Looked]:
    """For every text of BODY and TEXT that has words, and the name of a field in HEADER: who holds them. Empty when
    there is no index."""
    wanted = list(dict.fromkeys(_sought(key)))
    if not wanted or not len(selected):
        return {}
    store = session.store
    found = await store.scan(store.search.find, selected.mailbox_id, wanted)
    if found is None:
        return {}
    return {
        one: Looked(_mask(selected, sure), _mask(selected, unknown))
        for one, sure, unknown in zip(wanted, found.sure, found.unknown, strict=True)
    }


def _mask(selected: Selected, row_ids: set[int]) -> int:
    if not row_ids:
        return 0
    return int.from_bytes(bytes(map(row_ids.__contains__, selected.ids)), "little")


def _sought(key: search.Key) -> Iterator[Sought]:
    """What a search program looks up in the index."""
    for one in search.leaves(key):
        if isinstance(one, search.Body | search.Text) and (words := sought(one.text)):
            yield Sought(words, isinstance(one, search.Text))
        elif isinstance(one, search.Header) and not one.envelope and (name := name_of(one.field)) is not None:
            yield name
