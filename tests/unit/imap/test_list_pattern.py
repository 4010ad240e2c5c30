"""LIST patterns match as the RFC says, and no pattern is slow."""

import re
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.list_pattern import ListMatcher, compile_pattern


@given(st.text("ab/*%", max_size=10), st.text("ab/", max_size=10))
def test_as_the_definition(pattern, name):
    expression = "".join({"*": ".*", "%": "[^/]*"}.get(letter, re.escape(letter)) for letter in pattern)
    assert compile_pattern(pattern)(name) == bool(re.fullmatch(expression, name))


@given(st.lists(st.text("ab/*%", max_size=8), min_size=1, max_size=4), st.text("ab/", max_size=10))
def test_several_patterns_are_any_of_them(patterns, name):
    assert ListMatcher("", patterns)(name) == any(compile_pattern(pattern)(name) for pattern in patterns)


@pytest.mark.parametrize(
    ("reference", "pattern", "names"),
    [
        ("", "*", ["INBOX", "Sent", "a/b", "inboxes"]),
        ("", "%", ["INBOX", "Sent", "inboxes"]),
        ("", "inbox", ["INBOX"]),
        ("", "iNb*", ["INBOX"]),
        ("", "inb*", ["INBOX", "inboxes"]),
        ("a/", "%", ["a/b"]),
        ("a", "/*", ["a/b"]),
        ("", "S*t", ["Sent"]),
        ("", "s*t", []),
        ("", "%/%", ["a/b"]),
        ("Inbox/", "*", []),
    ],
)
def test_patterns(reference, pattern, names):
    matches = ListMatcher(reference, [pattern])
    assert [name for name in ("INBOX", "Sent", "a/b", "inboxes") if matches(name)] == names


def test_several_patterns():
    matches = ListMatcher("", ("INBOX", "S%"))
    assert [name for name in ("INBOX", "Sent", "Trash", "S/t") if matches(name)] == ["INBOX", "Sent"]


def test_folders_below_inbox_in_any_case_of_inbox():
    assert ListMatcher("", ["inbox/%"])("INBOX/Old")


def test_a_pattern_that_would_backtrack_is_linear():
    pattern, name = "*a%" * 500 + "b", "a/" * 2000
    began = time.process_time()
    assert not compile_pattern(pattern)(name)
    assert time.process_time() - began < 1


def lines_run(call):
    """How many lines of Python a call runs: its work, whatever else the machine does."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_many_patterns_cost_much_less_than_each_by_itself():
    pattern, name = "*" + "x*" * 250 + "z", "x" * 100

    def cost(patterns):
        matches = ListMatcher("", patterns)
        return lines_run(lambda: matches(name))

    assert not ListMatcher("", [pattern] * 100)(name)
    assert cost([pattern]) > 100, "each character is looked at"
    assert cost([pattern] * 100) < 2 * cost([pattern])
