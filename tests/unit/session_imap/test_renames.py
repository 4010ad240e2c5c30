"""Renames that lead from some names to others: each can be followed, and what has no rename is named."""

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.session import renames
from pillarbox.session.renames import Rename, in_order

NAMES = st.sampled_from(["a", "b", "c", "a/x", "a/y", "b/x", "b/x/z", "c/y", "d"])
TREES = st.lists(NAMES, unique=True, min_size=1)


def followed(names, steps):
    """What a client makes of them, for which a name is never taken twice."""
    for one, old, new in steps:
        assert names[one] == old
        moved = {k: new + name[len(old) :] for k, name in names.items() if name == old or name.startswith(old + "/")}
        names = {**names, **moved}
        assert len(set(names.values())) == len(names)
    return names


@given(TREES, TREES)
def test_what_is_told_can_be_followed(some, others):
    count = min(len(some), len(others))
    before, after = dict(enumerate(some[:count])), dict(enumerate(others[:count]))
    steps, names = in_order(before, after)
    assert followed(before, steps) == names
    taken = {name for one, name in names.items() if name == after[one]}
    for one, name in names.items():  # what is left could not be told
        assert name == after[one] or len(steps) == renames.MOST or name not in taken


def test_a_chain_has_an_order():
    before = {1: "a", 2: "b", 3: "c", 4: "a/x"}
    steps, names = in_order(before, {1: "b", 2: "c", 3: "d", 4: "b/x"})
    assert steps == [Rename(3, "c", "d"), Rename(2, "b", "c"), Rename(1, "a", "b")]
    assert names == {1: "b", 2: "c", 3: "d", 4: "b/x"}


def test_places_that_were_changed_have_none():
    before = {1: "a", 2: "b", 3: "c", 4: "c/x"}
    assert in_order(before, {1: "b", 2: "a", 3: "c", 4: "c/x"}) == ([], before)
    steps, names = in_order(before, {1: "b", 2: "a", 3: "c/x", 4: "c"})
    assert (steps, names) == ([], before)


def test_there_is_an_end():
    before = {at: f"a{at}" for at in range(60)}
    steps, names = in_order(before, {at: f"b{at}" for at in range(60)})
    assert len(steps) == renames.MOST
    assert sum(name.startswith("a") for name in names.values()) == 10
