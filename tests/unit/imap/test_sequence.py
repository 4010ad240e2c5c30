"""Sequence sets: parsed, resolved and rendered as the sets of numbers they are."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.sequence import MAX_NUMBER, STAR, SequenceSet, compact, parse, render_numbers

ELEMENTS = st.integers(1, 40) | st.just(0)  # 0 stands for *
RANGES = st.lists(st.tuples(ELEMENTS, ELEMENTS), min_size=1, max_size=12)


def written(ranges) -> bytes:
    return ",".join(f"{a or '*'}:{b or '*'}" for a, b in ranges).encode()


def meant(ranges, last: int) -> set[int]:
    """RFC 9051 section 9, word for word: `*` is the largest number in use, ranges go both ways."""
    numbers: set[int] = set()
    for pair in ranges:
        low, high = sorted(end or last for end in pair)
        numbers.update(range(low, high + 1))
    return numbers


@given(RANGES, st.integers(0, 45))
def test_message_numbers_are_those_that_are_meant(ranges, count):
    found = parse(written(ranges))
    indexes = [index + 1 for run in found.resolve_numbers(count) for index in run]
    assert indexes == sorted(indexes)
    assert set(indexes) == (meant(ranges, count) & set(range(1, count + 1)) if count else set())


@given(RANGES, st.sets(st.integers(1, 50), max_size=30))
def test_uids_are_those_that_are_meant_and_exist(ranges, existing):
    uids = array("I", sorted(existing))
    found = [uids[index] for run in parse(written(ranges)).resolve_uids(uids) for index in run]
    assert found == sorted(meant(ranges, uids[-1]) & existing if uids else [])


@given(st.sets(st.integers(1, 300)))
def test_what_is_rendered_is_read_again(numbers):
    ordered = sorted(numbers)
    if ordered:
        assert parse(render_numbers(ordered)) == SequenceSet.of(ordered)
    assert [number for low, high in compact(ordered) for number in range(low, high + 1)] == ordered
    assert all(left[1] + 1 < right[0] for left, right in zip(compact(ordered), compact(ordered)[1:], strict=False))


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        (b"7", ((7, 7),)),
        (b"4294967295", ((MAX_NUMBER, MAX_NUMBER),)),
        (b"1:4294967295", ((1, MAX_NUMBER),)),
        (b"*", ((STAR, STAR),)),
        (b"*:*", ((STAR, STAR),)),
        (b"*:5", ((5, STAR),)),
        (b"3,1,2", ((1, 3),)),
        (b"4294967295,*", ((MAX_NUMBER, MAX_NUMBER), (STAR, STAR))),
    ],
)
def test_ranges(text, ranges):
    assert parse(text).ranges == ranges


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"0:5",
        b"4294967296",
        b"4294967296:*",
        b"1,",
        b",1",
        b"1:",
        b":1",
        b"1:2:3",
        b"$,1",
        b"$:4",
        b"**",
        b"-1",
    ],
)
def test_what_is_no_set(text):
    assert parse(text) is None


def test_the_saved_result_is_only_noted():
    assert parse(b"$").saved
    assert parse(b"$").ranges == ()
    assert parse(b"1:3,$") == SequenceSet(((1, 3),), saved=True)


def test_a_range_that_ends_in_star_holds_the_last_message():
    assert parse(b"559:*").limit(23) == ((23, 23),)


def test_membership_and_the_largest_number():
    found = parse(b"2:4,9,20:*")
    assert [number for number in range(1, 12) if number in found] == [2, 3, 4, 9]
    assert 4_000_000_000 in found
    assert found.largest() == 20
    assert parse(b"*").largest() == 0


def test_a_span_of_four_thousand_million_costs_one_range():
    uids = array("I", range(1, 1001))
    assert parse(b"1:4294967295").resolve_uids(uids) == [range(1000)]
    assert parse(b"1:4294967295").resolve_numbers(5) == [range(5)]


def test_many_elements_become_few_ranges():
    text = ",".join(map(str, range(1, 13_000))).encode()
    assert parse(text).ranges == ((1, 12_999),)
    assert render_numbers(range(1, 1_000_001)) == b"1:1000000"
