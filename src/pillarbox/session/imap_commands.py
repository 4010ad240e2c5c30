"""Which function answers which command. What the core answers itself (CAPABILITY...) is not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pillarbox.imap.events import Command

from . import (
    imap_acl,
    imap_annotations,
    imap_contexts,
    imap_copy,
    imap_fetch,
    imap_list,
    imap_login,
    imap_mailboxes,
    imap_metadata,
    imap_multisearch,
    imap_notify,
    imap_quota,
    imap_search,
    imap_select,
    imap_status,
    imap_store,
    imap_thread,
    imap_urlauth,
)
from .imap_answers import Work

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession

Handler = Callable[["ImapSession", Command], Work]
"""Gives untagged responses to `session.core`, and the tagged one as what it returns. Raises Refuse and StoreError."""

HANDLERS: dict[str, Handler] = {
    "NOOP": imap_login.noop,
    "CHECK": imap_login.noop,
    "ID": imap_login.identify,
    "ENABLE": imap_login.enable,
    "LANGUAGE": imap_login.language,
    "COMPARATOR": imap_search.comparator,
    "LOGIN": imap_login.login,
    "UNAUTHENTICATE": imap_login.unauthenticate,
    "COMPRESS": imap_login.compress,
    "GENURLAUTH": imap_urlauth.generate,
    "RESETKEY": imap_urlauth.reset,
    "URLFETCH": imap_urlauth.fetch,
    "GETQUOTA": imap_quota.get,
    "GETQUOTAROOT": imap_quota.root_of,
    "SETQUOTA": imap_quota.set_,
    "GETMETADATA": imap_metadata.get,
    "SETMETADATA": imap_metadata.set_,
    "SETACL": imap_acl.set_,
    "DELETEACL": imap_acl.set_,
    "GETACL": imap_acl.get,
    "LISTRIGHTS": imap_acl.list_rights,
    "MYRIGHTS": imap_acl.my_rights,
    "NAMESPACE": imap_mailboxes.namespace,
    "CREATE": imap_mailboxes.create,
    "DELETE": imap_mailboxes.delete,
    "RENAME": imap_mailboxes.rename,
    "SUBSCRIBE": imap_mailboxes.subscribe,
    "UNSUBSCRIBE": imap_mailboxes.subscribe,
    "LIST": imap_list.list_,
    "LSUB": imap_list.lsub,
    "STATUS": imap_status.status,
    "SELECT": imap_select.select,
    "EXAMINE": imap_select.select,
    "CLOSE": imap_select.close,
    "UNSELECT": imap_select.close,
    "FETCH": imap_fetch.fetch,
    "SEARCH": imap_search.search,
    "SORT": imap_search.search,
    "THREAD": imap_thread.thread,
    "ESEARCH": imap_multisearch.esearch,
    "CANCELUPDATE": imap_contexts.cancel,
    "NOTIFY": imap_notify.notify,
    "UIDBATCHES": imap_multisearch.uid_batches,
    "STORE": imap_annotations.store_any,
    "EXPUNGE": imap_store.expunge,
    "COPY": imap_copy.copy,
    "MOVE": imap_copy.move,
}
