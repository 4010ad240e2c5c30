"""Threads: the examples of RFC 5256, and any messages."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.thread import Node, Threadable, by_references, normal_id, ordered_subject, render
from pillarbox.mime.subject import base_subject, is_reply


def message(number, references="", *, subject="", sent=None, message_id=None):
    ids = tuple(f"<{one}>" for one in references.split())
    return Threadable(
        number,
        number if sent is None else sent,
        base_subject(subject),
        is_reply(subject),
        f"<{number}>" if message_id is None else message_id,
        ids,
    )


def told(*messages):
    return render(by_references(messages)).decode().removeprefix("THREAD ")


def leaf(number, *children):
    return Node(Threadable(number, number), list(children))


def test_the_examples_of_rfc_5256_section_4():
    # (2)(3 6 (4 23)(44 7 96)): 3 has the child 6, which has the children 4 and 44.
    tree = leaf(3, leaf(6, leaf(4, leaf(23)), leaf(44, leaf(7, leaf(96)))))
    assert render([leaf(2), tree]) == b"THREAD (2)(3 6 (4 23)(44 7 96))"
    assert render([Node(None, [leaf(3), leaf(5)])]) == b"THREAD ((3)(5))"
    assert render([]) == b"THREAD"


def test_replies_follow_what_they_answer():
    assert told(message(1), message(2, "1"), message(3, "1 2"), message(4, "1")) == "(1 (2 3)(4))"


def test_a_reply_that_came_first_waits_for_its_parent():
    assert told(message(1, "2", sent=9), message(2, sent=1)) == "(2 1)"


def test_siblings_stand_under_a_parent_that_is_not_here():
    assert told(message(1, "x"), message(2, "x")) == "((1)(2))"
    assert told(message(1, "x"), message(2)) == "(1)(2)"
    assert told(message(1), message(2, "1 gone"), message(3, "1 gone")) == "(1 (2)(3))"


def test_a_message_that_names_itself_or_its_child_makes_no_circle():
    assert told(message(1, "1")) == "(1)"
    assert sorted(re.findall(r"\d", told(message(1, "2"), message(2, "1")))) == ["1", "2"]
    assert sorted(re.findall(r"\d", told(message(1, "3 2"), message(2, "1 3"), message(3, "2")))) == ["1", "2", "3"]


def test_what_a_message_says_itself_goes_before_what_others_say():
    assert told(message(1), message(2), message(3, "1 4"), message(4, "2")) == "(1)(2 4 3)"


def test_two_messages_of_one_id_are_both_there():
    assert told(message(1, message_id="<same>"), message(2, message_id="<same>")) == "(1)(2)"


def test_threads_of_one_subject_are_joined():
    assert told(message(1, subject="Lunch"), message(2, subject="Re: lunch")) == "(1 2)"
    assert told(message(1, subject="Re: lunch", sent=1), message(2, subject="Lunch", sent=2)) == "(2 1)"
    assert told(message(1, subject="Lunch"), message(2, subject="lunch")) == "((1)(2))"
    assert told(*(message(n, subject="Lunch") for n in (1, 2, 3))) == "((1)(2)(3))"
    assert told(message(1), message(2)) == "(1)(2)"  # no subject joins nothing


def test_threads_and_siblings_stand_by_date():
    assert told(message(1, sent=9), message(2, sent=5), message(3, "1", sent=20), message(4, "1", sent=10)) == (
        "(2)(1 (4)(3))"
    )


def test_ordered_subject():
    messages = [
        message(1, subject="B", sent=5),
        message(2, subject="re: a", sent=1),
        message(3, subject="A", sent=9),
        message(4, subject="a", sent=7),
        message(5, subject="b", sent=6),
    ]
    assert render(ordered_subject(messages)) == b"THREAD (2 (4)(3))(1 5)"


def test_ids_are_compared_without_needless_quotes():
    assert normal_id('<"01KF8JCEOCBS0045PS"@xxx.yyy.com>') == "<01KF8JCEOCBS0045PS@xxx.yyy.com>"
    assert normal_id('<"a\\"b"@c>') == '<a"b@c>'
    assert normal_id("<a@b>") == "<a@b>"


@pytest.mark.parametrize("turned", [False, True])
def test_a_long_chain_needs_no_stack(turned):
    chain = [message(n, str(n - 1) if n else "") for n in range(5000)]
    assert told(*(chain[::-1] if turned else chain)) == f"({' '.join(map(str, range(5000)))})"


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 12), max_size=4), st.sampled_from(["", "a", "Re: a", "b"]), st.integers(0, 5)
        ),
        max_size=12,
    )
)
def test_every_message_is_told_once(rows):
    messages = [
        message(number, " ".join(map(str, references)), subject=subject, sent=sent)
        for number, (references, subject, sent) in enumerate(rows)
    ]
    for threads in (by_references(messages), ordered_subject(messages)):
        text = render(threads).decode()
        assert sorted(map(int, re.findall(r"\d+", text))) == list(range(len(rows)))
        assert text.count("(") == text.count(")")


@pytest.mark.parametrize(
    ("subject", "reply"),
    [
        ("lunch", False),
        ("Re: lunch", True),
        ("[list] lunch", False),
        ("[list] FW: lunch", True),
        ("lunch (fwd)", True),
        ("[fwd: lunch]", True),
        ("return: lunch", False),
        ("re[2]: lunch", True),
    ],
)
def test_marks_of_a_reply(subject, reply):
    assert is_reply(subject) is reply
