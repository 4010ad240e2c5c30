"""Retry schedule, pace of a destination, slots of a worker, policy from settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.config import Settings
from pillarbox.flow.parcel import Outcome, Reply
from pillarbox.flow.sending.pace import Pace, feeling, is_trouble
from pillarbox.flow.sending.policy import policy, policy_of
from pillarbox.flow.sending.retry_schedule import RetrySchedule, doubling
from pillarbox.flow.sending.slots import Slots

DAY = 86_400


def test_the_last_step_stays_and_every_delay_is_varied() -> None:
    schedule = RetrySchedule((300, 600, 14_400))
    assert [schedule.delay(tries, 0.5) for tries in (1, 2, 3, 4, 50)] == [300, 600, 14_400, 14_400, 14_400]
    assert (schedule.delay(1, 0.0), schedule.delay(1, 0.999999)) == (255, 345)


@given(st.lists(st.integers(1, DAY), min_size=1, max_size=10), st.integers(0, 90 * DAY))
def test_the_length_is_how_often_it_is_tried_in_a_lifetime(steps: list[int], lifetime: int) -> None:
    schedule = RetrySchedule(tuple(steps))
    age, tries = 0, 0
    while tries < 1000 and age + schedule.delay(tries + 1, 0.5) <= lifetime:
        age += schedule.delay(tries + 1, 0.5)
        tries += 1
    assert tries == 1000 or schedule.length(lifetime) == tries


def test_a_schedule_that_doubles_ends_at_four_hours() -> None:
    assert doubling(0).steps[:5] == (1, 2, 4, 8, 16)
    assert doubling(600).steps == (600, 1200, 2400, 4800, 9600, 14_400)
    assert doubling(DAY).steps == (DAY,)


def test_settings_of_the_contract_count_only_when_they_were_given() -> None:
    default = policy(Settings.of("production"))
    assert default.schedule.steps == (300, 600, 1200, 2400, 3600, 7200, 14_400)
    assert default.tries is None
    assert default.schedule.length(default.lifetime) == 34
    assert (default.lifetime, default.report_lifetime, default.delay_report_after) == (5 * DAY, DAY, 4 * 3600)
    given = policy(Settings.of("production", retry_delay_seconds=60, max_retry_attempts=4))
    assert given.schedule.steps[:3] == (60, 120, 240)
    assert given.tries == 4
    both = policy(Settings.of("production", retry_delay_seconds=60, retry_schedule="1m 2h"))
    assert both.schedule.steps == (60, 7200)


def test_the_policy_is_made_anew_for_other_settings() -> None:
    settings = Settings.of("production")
    of_now = policy_of(lambda: settings)
    assert of_now() is of_now()
    settings = settings.replace(queue_batch_size=7)
    assert of_now().batch == 7


def pace(lanes: int = 0, failures: int = 0, most: int = 20) -> Pace:
    return Pace(lanes=lanes, failures=failures, most=most, threshold=3, timeout=60)


def test_lanes_grow_by_one_for_as_many_successes_as_there_are() -> None:
    one = pace()
    counts = []
    for _ in range(9):
        one.good()
        counts.append(one.lanes)
    assert counts == [2, 3, 3, 3, 4, 4, 4, 4, 5]


@given(st.lists(st.sampled_from("gbtr"), max_size=200), st.integers(1, 50))
def test_lanes_stay_between_one_and_the_most(events: list[str], most: int) -> None:
    one = pace(most=most)
    for event in events:
        match event:
            case "g":
                one.good()
            case "b":
                one.bad(1000.0, 0.5)
            case "t":
                one.talked()
            case _:
                one.refused_one_more(3)
        assert 1 <= one.lanes <= most
        assert one.blocked == (one.failures >= 3)


def test_the_circuit_opens_after_the_threshold_and_for_longer_each_time() -> None:
    one = pace(lanes=8)
    one.bad(0, 0.5)
    one.bad(0, 0.5)
    assert (one.blocked, one.lanes) == (False, 2)
    times = []
    for _ in range(8):
        one.bad(0, 0.5)
        times.append(one.blocked_until)
    assert times == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    again = pace(lanes=1, failures=one.failures)
    assert again.probing
    assert again.lanes == 1
    assert again.good()
    assert not again.good()
    assert not again.probing


@pytest.mark.parametrize(
    ("stage", "code", "trouble"),
    [
        ("CONNECT", 451, True),
        ("GREETING", 554, True),
        ("RCPT", 450, False),
        ("RCPT", 421, True),
        ("MAIL", 451, True),
        ("MAIL", 550, False),
        ("DATA", 451, True),
        ("END", 451, False),
        ("TIMEOUT", 451, True),
        ("POLICY", 550, False),
    ],
)
def test_what_is_trouble_of_the_destination(stage: str, code: int, trouble: bool) -> None:
    reply = Reply(stage, code, "", "")  # type: ignore[arg-type]
    assert is_trouble(reply) == trouble
    result = "failed" if code >= 500 else "deferred"
    outcomes = [Outcome(1, result, reply), Outcome(2, result, reply)]  # type: ignore[arg-type]
    assert feeling(outcomes) == ("bad" if trouble else "neutral")
    assert feeling([*outcomes, Outcome(3, "delivered", Reply("END", 250, "2.0.0", ""))]) == "good"


def test_further_lanes_leave_room_for_destinations_without_one() -> None:
    now = [0.0]
    slots = Slots(lambda: 8, lambda: now[0])
    freed = []
    slots.freed = lambda: freed.append(1)
    first = slots.take("a", further=False)
    taken = [slots.take("a", further=True) for _ in range(10)]
    assert sum(slot is not None for slot in taken) == 5
    others = [slots.take(name, further=False) for name in "bcd"]
    assert sum(slot is not None for slot in others) == 2
    assert first is not None
    first.give()
    assert freed and slots.free == 1


def test_a_slow_lane_makes_room_and_its_destination_is_slow_for_a_while() -> None:
    now = [0.0]
    slots = Slots(lambda: 2, lambda: now[0])
    one = slots.take("tar", further=False)
    assert one is not None
    one.too_long()
    assert (slots.ordinary, slots.slow) == (0, 1)
    again = slots.take("tar", further=False)
    assert again is not None
    assert again.slow
    assert slots.take("tar", further=True) is None  # the slow ones share too
    assert slots.free == 2
    one.give()
    again.give()
    assert (slots.ordinary, slots.slow) == (0, 0)
    now[0] = 3600
    assert not slots.is_slow("tar")
