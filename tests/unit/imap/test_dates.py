"""Dates of the grammar and of INTERNALDATE."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.dates import internal_date, parse_date, parse_date_time


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_internal_date_is_read_again(moment):
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).days * 86400 + moment.hour * 3600 + moment.minute * 60
    seconds += moment.second
    text = internal_date(seconds)
    assert len(text) == 28
    assert parse_date_time(text[1:-1]) == seconds


def test_the_day_has_two_places():
    assert internal_date(0) == b'" 1-Jan-1970 00:00:00 +0000"'
    assert internal_date(837596665) == b'"17-Jul-1996 09:44:25 +0000"'


def test_a_moment_that_no_calendar_has_is_rendered_anyway():
    assert internal_date(1 << 60).endswith(b'1970 05:48:16 +0000"') or internal_date(1 << 60).startswith(
        b'" 1-Jan-1970'
    )
    assert internal_date(-(1 << 60)).startswith(b'" 1-Jan-1970')


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"17-Jul-1996 02:44:25 -0700", 837596665),
        (b" 7-Jul-1996 02:44:25 +0530", 836687665),
        (b"7-jul-1996 02:44:25 +0000", 836707465),
        (b"31-Dec-2016 23:59:60 +0000", 1483228800),
    ],
)
def test_date_times(text, seconds):
    assert parse_date_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"17-Jul-1996",
        b"17-Jul-1996 02:44:25",
        b"17-Jul-1996 24:44:25 +0000",
        b"17-Jul-1996 02:60:25 +0000",
        b"17-Jul-1996 02:44:25 +0060",
        b"30-Feb-1996 02:44:25 +0000",
        b"17-Foo-1996 02:44:25 +0000",
        b"17-Jul-0000 02:44:25 +0000",
    ],
)
def test_no_date_times(text):
    assert parse_date_time(text) is None


def test_dates():
    assert parse_date(b"1-Feb-1994") == 8797
    assert parse_date(b"29-FEB-2024") == 19782
    assert parse_date(b"29-Feb-2023") is None
    assert parse_date(b"1-Feb-94") is None
