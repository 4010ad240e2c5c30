"""The queue is its model: a row is never lost, never claimed by two living holders, and always becomes due again.

Whatever holders, operators and somebody with an own `sqlite3` do, in any order, and whoever dies on the way.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from store_samples import START, message

from examples import stateful
from pillarbox.flow import queue_orders
from pillarbox.store import destinations, messages, open_store, queue, queue_claim, queue_settle, queue_wishes
from pillarbox.store.records import Queued, QueueFilter

LEASE = 60
MESSAGE = message()
NAMES = ["mx a", "mx b", "route 3"]
HOLDERS = st.sampled_from([0, 1])
PICKS = st.sets(st.integers(0, 7), max_size=4)
SECONDS = st.sampled_from([0, 1, 30, LEASE, LEASE + 1, 900])


@dataclass(frozen=True)
class Row:
    """What ought to be in the table. `due` is None for what is held or dead."""

    destination: str
    status: str
    due: int | None
    priority: int
    attempts: int = 0
    holder: str = ""
    not_before: int = 0


class QueueMachine(RuleBasedStateMachine):
    """`believed`: what each holder thinks is its own; it may have lost it long ago."""

    place = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.mkdtemp(prefix="pillarbox-queue-")
        self.now = START
        opening = open_store(self.place or f"{self.folder}/smtp.db", clock=lambda: self.now)
        self.store = self.loop.run_until_complete(opening)
        if self.place:
            self.run(lambda tx: [tx.run(f"DELETE FROM {table}") for table in ("message_queue", "destinations")])
        self.model: dict[int, Row] = {}
        self.numbers = itertools.count()
        self.holders = [f"h{next(self.numbers)}" for _ in range(2)]
        self.believed: dict[str, list[int]] = {holder: [] for holder in self.holders}
        self.leased: dict[str, dict[str, int]] = {}  # destination: its holder and until when

    def run(self, fn: Any, *args: Any, **kw: Any) -> Any:
        async def wait() -> Any:
            return await self.store.write(fn, *args, **kw)

        return self.loop.run_until_complete(wait())

    def teardown(self) -> None:
        try:
            self.everything_becomes_due()
        finally:

            async def close() -> list[str]:
                problems = await self.store.check()
                await self.store.close()
                return problems

            problems = self.loop.run_until_complete(close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)
        assert problems == []

    def everything_becomes_due(self) -> None:
        """In the end, with every holder dead, all that is neither held nor dead can be claimed, each row once."""
        self.now += 30 * 24 * 3600
        while self.run(destinations.sweep, 3):
            pass
        self.route(99)
        claimed: list[int] = []
        while leased := self.run(queue_claim.due_destinations, "last", 2, LEASE):
            for destination in leased:
                while rows := self.run(queue_claim.claim, destination.id, "last", 3, LEASE):
                    claimed += [row.id for row in rows]
        assert sorted(claimed) == sorted(id for id, row in self.model.items() if row.due is not None)

    def change(self, ids: Any, **values: Any) -> None:
        for queue_id in ids:
            self.model[queue_id] = replace(self.model[queue_id], **values)

    def where(self, condition: Any) -> list[int]:
        return [queue_id for queue_id, row in self.model.items() if condition(row)]

    def pick(self, picks: set[int]) -> list[int]:
        ids = sorted(self.model)
        return [ids[at] for at in sorted(picks) if at < len(ids)]

    @initialize()
    def some_rows(self) -> None:
        for name in NAMES:
            self.enqueue(name, 0, 0, False, 2)

    @rule(
        name=st.sampled_from([*NAMES, ""]),
        priority=st.integers(-1, 1),
        later=st.sampled_from([0, 0, 30, 900]),
        held=st.sampled_from([False, False, False, True]),
        many=st.integers(1, 3),
    )
    def enqueue(self, name: str, priority: int, later: int, held: bool, many: int) -> None:
        plan = Queued(
            "a@b.c", "d@e.f", destination=name, priority=priority, not_before=self.now + later or None, held=held
        )
        for outcome in self.run(messages.deliver, MESSAGE, [plan] * many):
            destination = "" if held else name
            due = None if held else self.now + later
            status = "held" if held else "pending"
            self.model[outcome.queue_id] = Row(destination, status, due, priority, not_before=self.now + later)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(limit=st.integers(1, 9))
    def route(self, limit: int) -> None:
        waiting = self.run(queue_claim.unrouted, limit)
        ought = {id for id, row in self.model.items() if row.due is not None and not row.destination}
        assert {row.id for row in waiting} <= ought
        assert len(waiting) == min(limit, len(ought))
        given = [(row.id, NAMES[row.id % 3], None) for row in waiting]
        self.run(queue_claim.assign, given)
        for queue_id, name, _ in given:
            self.change([queue_id], destination=name)

    @rule(who=HOLDERS, limit=st.integers(1, 3))
    def lease(self, who: int, limit: int) -> None:
        for destination in self.run(queue_claim.due_destinations, self.holders[who], limit, LEASE):
            before = self.leased.get(destination.name)
            assert before is None or before["until"] <= self.now
            assert destination.due_at is not None
            assert destination.due_at <= self.now
            self.leased[destination.name] = {"holder": who, "until": self.now + LEASE}

    @rule(who=HOLDERS, name=st.sampled_from(NAMES), limit=st.integers(1, 4))
    def claim(self, who: int, name: str, limit: int) -> None:
        """Of any destination, its own or not: the rows decide."""
        holder = self.holders[who]
        found = self.run(lambda tx: tx.row("SELECT id FROM destinations WHERE name = ?", (name,)))
        if found is None:
            assert not self.where(lambda row: row.destination == name and row.due is not None)
            return
        claimed = self.run(queue_claim.claim, found[0], holder, limit, LEASE)
        due = self.where(lambda row: row.destination == name and row.due is not None and row.due <= self.now)
        assert len(claimed) == min(limit, len(due))
        assert {row.id for row in claimed} <= set(due)
        assert [row.priority for row in claimed] == sorted((self.model[id].priority for id in due), reverse=True)[
            :limit
        ]
        self.change([row.id for row in claimed], status="processing", due=self.now + LEASE, holder=holder)
        self.believed[holder] += [row.id for row in claimed]

    @rule(
        who=HOLDERS,
        how=st.sampled_from(["remove", "defer", "fail", "give back", "prolong"]),
        picks=PICKS,
        later=SECONDS,
        named=st.booleans(),
    )
    def settle(self, who: int, how: str, picks: set[int], later: int, named: bool) -> None:
        holder = self.holders[who]
        ids = [self.believed[holder][at] for at in picks if at < len(self.believed[holder])]
        kept = [id for id in ids if id in self.model and self.model[id].holder == holder]
        mine = [id for id in kept if self.model[id].status == "processing"]
        if not named and len(mine) < len(ids):
            return  # whoever does not say who he is must be sure
        said = holder if named else ""
        if how == "remove":
            self.run(queue_settle.remove, ids)
            for queue_id in set(ids):
                self.model.pop(queue_id, None)
        elif how == "defer":
            self.run(queue_settle.defer, [(id, self.now + later, "450", "h") for id in set(ids)], holder=said)
            for queue_id in set(mine):
                attempts = self.model[queue_id].attempts + 1
                self.change([queue_id], status="retry", due=self.now + later, holder="", attempts=attempts)
        elif how == "fail":
            self.run(queue_settle.fail, [(id, "550", "h") for id in set(ids)], holder=said)
            for queue_id in set(mine):
                attempts = self.model[queue_id].attempts + 1
                self.change([queue_id], status="failed", due=None, holder="", attempts=attempts)
        elif how == "give back":
            self.run(queue_settle.give_back, holder, ids)
            for queue_id in mine:
                self.back_in_line(queue_id)
            self.change((id for id in kept if id not in mine), holder="")
        else:
            self.run(queue_claim.prolong, holder, ids, [], 2 * LEASE)
            self.change(mine, due=self.now + 2 * LEASE)
            return
        self.believed[holder] = [id for id in self.believed[holder] if id not in ids]

    def back_in_line(self, queue_id: int) -> None:
        """Due; the exact time is the table's business: it keeps the place in line of what was never tried."""
        (due,) = self.run(lambda tx: tx.row("SELECT next_retry_at FROM message_queue WHERE id = ?", (queue_id,)))
        assert due <= self.now
        status = "retry" if self.model[queue_id].attempts else "pending"
        self.change([queue_id], status=status, due=due, holder="")

    @rule(who=HOLDERS, name=st.sampled_from(NAMES), blocked=SECONDS, own=st.booleans())
    def leave(self, who: int, name: str, blocked: int, own: bool) -> None:
        """Mostly what it has; sometimes what is another's, which does nothing."""
        if own:
            having = {destination: its["holder"] for destination, its in self.leased.items() if its["holder"] >= 0}
            name, who = next(iter(having.items()), (name, who))
        found = self.run(lambda tx: tx.row("SELECT id, holder FROM destinations WHERE name = ?", (name,)))
        if found is not None:
            left = {"failures": 1, "concurrency": 1, "blocked_until": self.now + blocked, "last_error": "x"}
            self.run(queue_claim.leave, found[0], self.holders[who], **left)
            if self.leased.get(name, {}).get("holder") == who:
                assert found[1] == self.holders[who]
                del self.leased[name]

    @rule(who=HOLDERS, noticed=st.booleans())
    def crash(self, who: int, noticed: bool) -> None:
        """A holder dies and another begins. If nobody on this machine notices, its leases just end."""
        dead = self.holders[who]
        del self.believed[dead]
        self.holders[who] = f"h{next(self.numbers)}"
        self.believed[self.holders[who]] = []
        if noticed:
            self.run(queue_claim.free_dead, lambda holder: holder != dead)
            for queue_id in self.where(lambda row: row.holder == dead and row.status == "processing"):
                self.back_in_line(queue_id)
            self.change(self.where(lambda row: row.holder == dead), holder="")
            self.leased = {name: its for name, its in self.leased.items() if its["holder"] != who}
        else:
            for its in self.leased.values():
                its["holder"] = -1 if its["holder"] == who else its["holder"]

    @rule(
        what=st.sampled_from(["hold", "release", "retry now", "bounce", "delete", "ask", "move", "reroute"]),
        picks=PICKS,
        limit=st.integers(1, 9),
    )
    def operator(self, what: str, picks: set[int], limit: int) -> None:
        ids = self.pick(picks)[:limit]
        wanted = QueueFilter(ids=tuple(ids))
        rows = {id: self.model[id] for id in ids}
        idle = {id for id, row in rows.items() if row.status != "processing"}
        waiting = {id for id in idle if rows[id].due is not None}
        if what == "hold":
            self.run(queue.hold, wanted, limit)
            self.change((id for id in ids if rows[id].due is not None), status="held", due=None)
        elif what == "release":
            self.run(queue.release, wanted, limit)
            for queue_id in idle:
                if rows[queue_id].status == "held" and rows[queue_id].holder:
                    self.change([queue_id], status="processing", due=self.now + queue_wishes.IN_HAND)
                elif rows[queue_id].status == "held":
                    status = "retry" if rows[queue_id].attempts else "pending"
                    due = max(self.now, rows[queue_id].not_before)
                    self.change([queue_id], status=status, due=due, destination="")
        elif what == "retry now":
            self.run(queue.retry_now, wanted, limit)
            for queue_id in idle - waiting:
                if rows[queue_id].status == "failed":
                    due = max(self.now, rows[queue_id].not_before)
                    self.change([queue_id], status="retry", due=due, destination="")
            for queue_id in waiting:
                (due,) = self.run(
                    lambda tx, id=queue_id: tx.row("SELECT next_retry_at FROM message_queue WHERE id = ?", (id,))
                )
                if rows[queue_id].not_before > self.now:
                    assert due == rows[queue_id].due
                else:
                    assert due in (self.now, min(rows[queue_id].due or 0, self.now))
                self.change([queue_id], due=due)
        elif what == "bounce":
            before = self.run(
                lambda tx: {row[0] for row in tx.rows("SELECT id FROM message_queue WHERE expires_at = 0")}
            )
            self.run(queue.bounce, wanted, limit)
            nobodys = {id for id in idle - before if not rows[id].holder}
            self.change(waiting & nobodys, status="retry", due=self.now)
            self.change(nobodys - waiting, status="retry", due=self.now, destination="")
            self.change(nobodys, not_before=0)
        elif what in ("delete", "ask"):
            if what == "delete":
                self.run(queue.delete, wanted, limit)
            else:
                self.run(queue_orders.apply, "delete", wanted, "eve")
            for queue_id, row in rows.items():
                if not row.holder:
                    del self.model[queue_id]
                elif what == "ask" and row.status != "processing":
                    self.change([queue_id], status="processing", due=self.now + queue_wishes.IN_HAND)
        elif what == "move":
            self.run(lambda tx: tx.run("UPDATE message_queue SET moved = 0, route_id = NULL"))
            self.run(queue.move, wanted, limit, 3)
            self.change(idle, destination="")
            late = {id for id in waiting if rows[id].status == "retry" and (rows[id].due or 0) > self.now}
            self.change(late, due=self.now)
        else:
            self.run(queue.reroute, wanted, limit)
            self.change(waiting, destination="")

    @rule(
        what=st.sampled_from(["delete rows", "due now", "by hand", "without a time", "delete destinations", "put off"]),
        picks=PICKS,
    )
    def outside(self, what: str, picks: set[int]) -> None:
        """Somebody with the system's `sqlite3`."""
        ids = self.pick(picks)
        among = f"id IN ({', '.join(map(str, ids)) or 'NULL'})"
        if what == "delete rows":
            self.run(lambda tx: tx.run(f"DELETE FROM message_queue WHERE {among}"))
            for queue_id in ids:
                del self.model[queue_id]
        elif what in ("due now", "put off"):
            at = self.now + (-5 if what == "due now" else 5000)
            idle = f"{among} AND status IN ('pending', 'retry')"
            self.run(lambda tx: tx.run(f"UPDATE message_queue SET next_retry_at = {at} WHERE {idle}"))
            self.change((id for id in ids if self.model[id].status in ("pending", "retry")), due=at)
        elif what in ("by hand", "without a time"):
            due = self.now if what == "by hand" else None
            columns = "from_address, to_address, message_data, created_at, next_retry_at"
            queue_id = self.run(
                lambda tx: tx.insert(
                    f"INSERT INTO message_queue ({columns}) VALUES ('a@b.c', 'd@e.f', ?, ?, ?)",
                    (b"Subject: x\r\n", self.now, due),
                )
            )
            self.model[queue_id] = Row("", "pending", self.now, 0)
            if due is None:
                while self.run(destinations.sweep):
                    pass
                self.run(destinations.sweep)
                (at,) = self.run(lambda tx: tx.row("SELECT next_retry_at FROM message_queue WHERE id = ?", (queue_id,)))
                assert at == self.now
        else:
            self.run(lambda tx: tx.run("DELETE FROM destinations"))
            self.leased.clear()
            self.change(self.where(lambda row: row.due is not None), destination="")

    @rule(look=st.integers(1, 4))
    def sweep(self, look: int) -> None:
        self.run(destinations.sweep, look)

    @invariant()
    def the_table_is_the_model(self) -> None:
        def look(tx: Any) -> dict[int, Row]:
            sql = (
                "SELECT q.id, CASE WHEN q.next_retry_at IS NULL THEN '' ELSE coalesce(d.name, '') END, q.status, "
                "q.next_retry_at, q.priority, q.attempts, q.claimed_by, coalesce(q.not_before, 0) "
                "FROM message_queue q LEFT JOIN destinations d ON d.id = q.destination_id"
            )
            return {row[0]: Row(*row[1:]) for row in tx.rows(sql)}

        ought = {id: row if row.due is not None else replace(row, destination="") for id, row in self.model.items()}
        assert self.run(look) == ought

    @invariant()
    def nobody_sleeps_while_something_is_due(self) -> None:
        due = self.run(queue_claim.next_due)
        waiting = [row for row in self.model.values() if row.due is not None]
        assert due is not None or not waiting
        if any(not row.destination for row in waiting):
            assert due == 0

        def late(tx: Any) -> list[Any]:
            return tx.rows(
                "SELECT q.id FROM message_queue q JOIN destinations d ON d.id = q.destination_id "
                "WHERE q.next_retry_at IS NOT NULL AND (d.due_at IS NULL OR d.due_at > q.next_retry_at)"
            )

        assert self.run(late) == []


def test_on_sqlite() -> None:
    run_state_machine_as_test(QueueMachine, settings=stateful(20, 40))


def test_on_postgresql(postgres_url: str) -> None:
    machine = type("PostgresMachine", (QueueMachine,), {"place": postgres_url})
    run_state_machine_as_test(machine, settings=stateful(4, 30))
