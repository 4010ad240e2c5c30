from hypothesis import given
from hypothesis import strategies as st

from pillarbox.flow.message_id import MessageIds


def test_ids_are_short_and_sort_by_time_even_when_the_clock_stands_or_steps_back():
    times = iter([1_700_000_000.0, 1_700_000_000.0, 1_699_999_999.0, 1_700_000_000.5, 1_800_000_000.0])
    ids = MessageIds(3, lambda: next(times))
    made = [ids() for _ in range(5)]
    assert made == sorted(made)
    assert len(set(made)) == 5
    assert {len(name) for name in made} == {14}


def test_among_nodes_more_of_the_id_is_the_process():
    ids = [MessageIds(0, lambda: 1.0, among_nodes=True)() for _ in range(20)]
    assert {len(name) for name in ids} == {17}
    assert len(set(ids)) == 20
    assert len({name[:10] for name in ids}) == 1


def test_a_burst_within_one_millisecond_stays_unique_and_sorted():
    ids = MessageIds(1, lambda: 1_700_000_000.0)
    made = [ids() for _ in range(5000)]
    assert made == sorted(set(made))


@given(st.integers(0, 31), st.integers(0, 31))
def test_workers_do_not_give_the_same_id(one, other):
    first, second = MessageIds(one, lambda: 1.0)(), MessageIds(other, lambda: 1.0)()
    assert first[:9] == second[:9]
    assert one == other or first != second
