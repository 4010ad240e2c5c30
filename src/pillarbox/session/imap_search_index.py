"""What the search index says about the texts of a search program, as masks over the session's columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pillarbox.imap import search
from pillarbox.mime.words import sought
from pillarbox.session.imap_search_plan import Asked, Looked, name_of
from pillarbox.session.imap_selected import Selected
from pillarbox.store import search_index
from pillarbox.store.search_index import Sought

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


FEW = 200  # messages, up to which the header of each is read
_NAMED = 25  # messages of the whole store that the index names in the time in which one is read


async def looked_up(session: ImapSession, key: search.Key, selected: Selected) -> dict[Asked, Looked]:
    """For every text of BODY and TEXT that has words, and the name of a field in HEADER where reading the messages
    would take longer: who holds them. Empty when there is no index."""
    if not len(selected):
        return {}
    store = session.store
    wanted = list(dict.fromkeys(_texts(key)))
    names = list(dict.fromkeys(_names(key)))
    if names and len(selected) > FEW and len(selected) * _NAMED >= await store.scan(search_index.messages):
        wanted += names
    if not wanted:
        return {}
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


def _texts(key: search.Key) -> Iterator[Sought]:
    for one in search.leaves(key):
        if isinstance(one, search.Body | search.Text) and (words := sought(one.text)):
            yield Sought(words, isinstance(one, search.Text))


def _names(key: search.Key) -> Iterator[Sought]:
    for one in search.leaves(key):
        if isinstance(one, search.Header) and not one.envelope and (name := name_of(one.field)) is not None:
            yield name
