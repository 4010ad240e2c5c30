"""What a run has in hand before lanes have it: parcels in the order of the claims, and the last message's rows."""

import pytest
from virtual_time import VirtualLoop

from pillarbox.flow.sending.batch import MOST_RECIPIENTS
from pillarbox.flow.sending.parts import Held
from pillarbox.flow.sending.stock import Stock
from pillarbox.store.records import QueuedMessage


@pytest.fixture
def stock():
    loop = VirtualLoop()
    yield Stock(Held(), loop)
    loop.close()


def rows(message, *ids):
    return [
        QueuedMessage(
            id=number,
            message_key=message,
            sender="ada@example.com",
            recipient=f"u{number}@other.example",
            prefix=b"",
            blob_id=1,
            size=3,
            priority=0,
            attempts=0,
            created_at=0,
            expires_at=None,
            route_id=None,
            user_id=None,
            via="",
            notify="",
            orcpt="",
            ret="",
            envid="",
            body="",
            smtputf8=False,
            deliver_by=None,
            deliver_mode="",
            delay_reported_at=None,
            last_error=None,
        )
        for number in ids
    ]


def ids(loads):
    return [[row.id for row in load.rows] for load in loads]


def test_the_last_message_waits_for_its_other_recipients(stock):
    stock.add([*rows("one", 1), *rows("two", 2, 3)], more=True)
    assert len(stock) == 1
    stock.add([*rows("two", 4), *rows("three", 5)], more=False)
    assert ids([stock.take(), stock.take(), stock.take()]) == [[1], [2, 3, 4], [5]]
    assert stock.take() is None


def test_a_parcel_that_is_full_waits_for_nothing(stock):
    stock.add(rows("one", *range(MOST_RECIPIENTS)), more=True)
    assert len(stock) == 1 and not stock.tail


def test_what_is_withdrawn_is_in_no_parcel(stock):
    stock.add([*rows("one", 1, 2), *rows("two", 3, 4)], more=True)
    assert [row.id for row in stock.withdraw({2, 4})] == [2, 4]
    stock.add([], more=False)
    assert ids(stock.take_all()) == [[1], [3]]


def test_all_is_taken_with_the_last_message_that_still_waits(stock):
    stock.add([*rows("one", 1), *rows("two", 2, 3)], more=True)
    assert ids(stock.take_all()) == [[1], [2, 3]]
    stock.add([], more=False)
    assert stock.take() is None
