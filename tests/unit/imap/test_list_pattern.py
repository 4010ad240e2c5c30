"""LIST patterns match as the RFC says, and no pattern is slow."""

import re
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


def test_many_patterns_cost_much_less_than_each_by_itself():
    def cost(patterns):
        began = time.process_time()
        matches = ListMatcher("", patterns)
        assert not any(matches("x" * 95 + f"{number:05}") for number in range(200))
        return time.process_time() - began

    pattern = "*" + "x*" * 250 + "z"
    assert cost([pattern] * 100) < 60 * min(cost([pattern]) for _ in range(5))
