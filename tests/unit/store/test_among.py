"""`Tx.among`: the numbers of a list and no others, however many they are and however they lie."""

import pytest

from pillarbox.store import Store, Tx
from pillarbox.store.sqlite_tx import RANGE

_UP_TO = 4 * RANGE
_NUMBERS = f"WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {_UP_TO}) SELECT x FROM n WHERE "
_WHOLE = list(range(5, 5 + RANGE))


@pytest.mark.parametrize(
    "numbers",
    [
        [],
        [7],
        [7, 9],
        _WHOLE,
        _WHOLE[::-1],
        _WHOLE + _WHOLE[:3],
        [number for number in range(1, 2 * RANGE) if number % 10],
        [number for number in range(1, _UP_TO) if number % 2],
        [1, *range(RANGE, 3 * RANGE), _UP_TO + 50],
    ],
    ids=["none", "one", "two", "a range", "backwards", "some twice", "few gaps", "every other", "far apart"],
)
async def test_the_numbers_of_a_list_and_no_others(store: Store, numbers: list[int]) -> None:
    def found(tx: Tx) -> list[int]:
        condition, values = tx.among("x", numbers)
        return [row[0] for row in tx.rows(f"{_NUMBERS}0 = ? AND {condition} AND x > ? ORDER BY x", (0, values, 0))]

    assert await store.scan(found) == sorted({number for number in numbers if number <= _UP_TO})


async def test_many_neighbours_are_walked_over(sqlite_store: Store) -> None:
    def plan(tx: Tx, uids: list[int]) -> list[str]:
        condition, values = tx.among("uid", uids)
        sql = f"EXPLAIN QUERY PLAN SELECT uid FROM messages WHERE mailbox_id = ? AND {condition} ORDER BY uid"
        return [row[3] for row in tx.rows(sql, (1, values))]

    walk = "(mailbox_id=? AND uid>? AND uid<?)"
    (line,) = await sqlite_store.scan(lambda tx: plan(tx, _WHOLE))
    assert walk in line
    assert walk in (await sqlite_store.scan(lambda tx: plan(tx, _WHOLE[:50] + _WHOLE[60:] + [5 + RANGE] * 10)))[0]
    assert walk not in (await sqlite_store.scan(lambda tx: plan(tx, list(range(1, 4 * RANGE, 2)))))[0]
