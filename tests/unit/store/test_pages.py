"""What a relayed message writes: pages of the log, which each commit syncs. Each index that is touched is one more."""

from collections.abc import Callable
from pathlib import Path

from store_samples import Clock, raw_message

from pillarbox.mime.analysis import outline
from pillarbox.store import Tx, blobs, delivery, destinations, migrate, queue_settle
from pillarbox.store.records import NewMessage, Queued, Warm
from pillarbox.store.sqlite_connection import connect
from pillarbox.store.sqlite_tx import SqliteTx

HOLDER = "me"
MOST = 6  # two tables and their sequences; of the queue the indexes by blob, lease and status


def test_a_message_in_its_senders_hand_touches_no_index_of_waiting_rows(folder: Path, clock: Clock) -> None:
    path = str(folder / "smtp.db")
    migrate(path, clock=clock)
    connection = connect(path, "writer")
    pages = [0]

    def committed(connection: object, name: str, total: int) -> int:
        pages.append(total)
        return 0

    connection.set_wal_hook(committed)

    def commit(work: Callable[[Tx], object]) -> int:
        connection.execute("BEGIN IMMEDIATE")
        work(SqliteTx(connection, int(clock())))
        connection.execute("COMMIT")
        return pages[-1] - pages[-2]

    (destination,) = destinations.ensure(SqliteTx(connection, int(clock())), {"mx e.f": int(clock())}).values()
    warm = Warm(HOLDER, 300, {"mx e.f": destination})
    ids: list[int] = []
    content = raw_message()
    passing = NewMessage(blobs.pack(content), None, outline(content, b"<1@e.f>"))

    def relay(tx: Tx) -> None:
        queue_settle.remove(tx, ids, HOLDER)
        (put,) = delivery.deliver(tx, passing, [Queued("a@b.c", "d@e.f", destination="mx e.f")], warm)
        assert put.claimed is not None
        ids[:] = [put.claimed.id]

    commit(relay)
    commit(relay)
    written = [commit(relay) for _ in range(5)]
    connection.close()
    assert max(written) <= MOST, written
