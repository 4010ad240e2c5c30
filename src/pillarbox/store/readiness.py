"""Whether mail could be kept in the store just now, for whoever asks a node how it is."""

from __future__ import annotations

from pillarbox.store.migration import version_of
from pillarbox.store.tx import Tx

# Our own transaction here only reads; what counts is what one gets that does not ask for it.
_READS_ONLY = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::boolean"


def trouble(tx: Tx) -> str:
    """Why it could not, "" when it could. (A file that cannot be written to is refused at the start.)"""
    if not version_of(tx):
        return "the database has no schema"
    if tx.engine == "postgresql":
        standby, read_only = tx.row(_READS_ONLY) or (False, False)
        if standby:
            return "the database is a standby, which takes no writes"
        if read_only:
            return "the database is set to take no writes (default_transaction_read_only)"
    return ""
