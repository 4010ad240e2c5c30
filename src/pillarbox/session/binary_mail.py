"""Binary mail on its way into a mailbox: what holds a NUL is encoded in base64 before it is stored.

No literal of IMAP but that of BINARY can hold a NUL, and whoever reads by BODY[] or by POP3 wants the content of a part
whole. RFC 3516 section 6 has such parts described and given as though they were encoded; here they are, once and for
all readers, and BINARY[] decodes them to the very octets that came. Mail without a NUL is never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from pillarbox.flow.spool import Spool, SpoolHost
from pillarbox.mime.downgrade import Untouchable
from pillarbox.store import Store, blobs
from pillarbox.store.errors import StoreError
from pillarbox.store.records import NewMessage

from .outgoing_content import Content

log = structlog.get_logger()

_OWNER = "binary"


async def encoded(host: SpoolHost, spool: Spool, message: NewMessage) -> tuple[Spool, NewMessage]:
    """A message that came with a NUL (`Spool.has_nul`) as one without, and the spool that holds it now; the first spool
    is closed.

    What came waits in the store, as a blob that no mailbox has. Raises Untouchable where a NUL is in what may not be
    encoded (a header, signed mail, what is between the parts), SpoolError and StoreError.
    """
    store = host.store
    size = len(message.packed) if message.packed is not None else 0
    blob_ids = await store.write(blobs.put_away, [message], _OWNER, size=size)
    spool.close(stored=True)
    made = Spool(host)
    try:
        content = Content(store, b"", blob_ids[0], message.analysis.size)
        await content.begin()
        await content.encode_nul()
        async for piece in content.pieces():
            await (made.feed(piece) or asyncio.sleep(0))  # to encode one is work: others have their turn
        plain = await made.finish()
        if made.has_nul:
            raise Untouchable("there is a NUL outside of the content of its parts")
    except BaseException:
        made.close()
        raise
    finally:
        free(store, blob_ids)
    return made, plain


def free(store: Store, blob_ids: Sequence[int]) -> None:
    """Free blobs that no mailbox has, soon; what this cannot do the sweep does."""
    try:
        store.write(blobs.free_unwanted, blob_ids).add_done_callback(_freed)
    except StoreError:
        return  # the store is closed


def _freed(done: asyncio.Future[int]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.info("Messages that are in no mailbox are freed later", error=str(error))
