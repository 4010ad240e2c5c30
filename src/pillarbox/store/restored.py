"""What is done with a database that went back in time (`mark` says when): at the start, or when somebody restored one
into the running server (`sqlite3 smtp.db ".restore FILE"`).
"""

from __future__ import annotations

import secrets

import structlog

from pillarbox.store.mark import COMMITS, UIDVALIDITY, Mark, Verdict
from pillarbox.store.sqlite_tx import SqliteTx
from pillarbox.store.tx import DIRECTORY

log = structlog.get_logger()

_VALUE = "SELECT value FROM store_counters WHERE id = ?"
_SET = "UPDATE store_counters SET value = ? WHERE id = ?"


def went_back_in_time(tx: SqliteTx, mark: Mark, verdict: Verdict) -> None:
    """Clients must forget what they cached: the same UIDs may stand for other messages from now on (RFC 9051
    2.3.1.1). The counters are above the mark afterwards. Under the write lock.
    """
    mark.forget_checkpoint()
    (counter,) = tx.row(_VALUE, (COMMITS,)) or (0,)
    (known,) = tx.row(_VALUE, (UIDVALIDITY,)) or (0,)
    # Each its own, or a mailbox that is renamed to the name of a deleted one could not be told from it.
    uidvalidity = max(known, mark.uidvalidity, tx.now)
    mailboxes = tx.run("UPDATE mailboxes SET uidvalidity = ? + id", (uidvalidity,))
    (last,) = tx.row("SELECT coalesce(max(id), 0) FROM mailboxes") or (0,)
    uidvalidity += last
    tx.run(_SET, (uidvalidity, UIDVALIDITY))
    tx.run(_SET, (max(counter, mark.committed, mark.reserved) + 1, COMMITS))
    tx.run("UPDATE store_meta SET value = ? WHERE key = 'jmap_epoch'", (secrets.token_hex(8),))
    for user_id, mailbox_id in tx.rows("SELECT user_id, id FROM mailboxes WHERE deleted_at IS NULL"):
        tx.touch(user_id, mailbox_id)
    tx.touch(*DIRECTORY)
    log.warning(
        "Database went back in time: new UIDVALIDITY for every mailbox",
        reason=verdict.value,
        counter=counter,
        marked=mark.committed,
        reserved=mark.reserved,
        uidvalidity=uidvalidity,
        mailboxes=mailboxes,
    )
