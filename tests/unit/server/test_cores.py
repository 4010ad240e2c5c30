"""Who keeps to a core and who does not. Each thread has cores of its own, so all of it is asked in threads."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pillarbox import cores

OURS = os.sched_getaffinity(0)
several = pytest.mark.skipif(len(OURS) < 2, reason="one core")


def where() -> set[int]:
    return os.sched_getaffinity(0)


@several
def test_each_worker_keeps_to_a_core_of_its_own_when_there_are_as_many() -> None:
    def worker(index: int) -> set[int]:
        cores.keep_to_one(index, len(OURS))
        return where()

    taken = []
    for index in range(len(OURS)):
        with ThreadPoolExecutor(1) as thread:
            taken.append(thread.submit(worker, index).result())
    assert sorted(core for own in taken for core in own) == sorted(OURS)


@pytest.mark.parametrize("workers", [len(OURS) - 1, len(OURS) + 1])
def test_with_fewer_or_more_workers_than_cores_the_kernel_decides(workers: int) -> None:
    def worker() -> set[int]:
        cores.keep_to_one(0, workers)
        return where()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(worker).result() == OURS


@several
def test_what_a_worker_has_others_do_goes_on_at_any_core() -> None:
    def worker() -> tuple[set[int], set[int], set[int]]:
        cores.keep_to_one(1, len(OURS))
        made: list[set[int]] = []
        plain = threading.Thread(target=lambda: made.append(where()))
        plain.start()
        plain.join()
        with cores.Pool(1, "test") as pool:
            return where(), made[0], pool.submit(where).result()

    with ThreadPoolExecutor(1) as thread:
        own, like_the_writer, like_a_hash = thread.submit(worker).result()
    assert own == like_the_writer == {sorted(OURS)[1]}
    assert like_a_hash == OURS


def test_the_count_is_that_of_the_program_also_for_who_keeps_to_one() -> None:
    def worker() -> int:
        cores.keep_to_one(0, len(OURS))
        return cores.usable()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(worker).result() == len(OURS)
