"""Which cores of the machine a thread may run on (sched_setaffinity(2), of each thread its own).

The loop and the writer of a worker share its interpreter, so they hardly ever run at once but take turns, many times a
message. On one core a turn goes over without waking another core up, and finds in its caches what the other has
touched. But when somebody else keeps that core busy they cannot leave it; so it is for machines with nobody else.
Everything else is not held there: hashing, packing and searching go on beside the loop.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_OURS = os.sched_getaffinity(0)  # of the whole program, before any thread kept to one


def usable() -> int:
    """How many cores we may use."""
    return len(_OURS)


def keep_to_one(index: int, workers: int) -> None:
    """This thread, and those that it makes from now on, keep to the core of the worker `index`.

    Only when there are as many workers as cores. With fewer, those of several servers would meet on the first cores
    while the others idle.
    """
    if 1 < workers == len(_OURS):
        _run_on({sorted(_OURS)[index % workers]})


def roam() -> None:
    """This thread runs on any of our cores, whatever the one that made it keeps to."""
    _run_on(_OURS)


class Pool(ThreadPoolExecutor):
    """Threads that `roam`."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name, initializer=roam)


def _run_on(cores: set[int]) -> None:
    with suppress(OSError):  # forbidden, or taken from us meanwhile: the kernel knows better
        os.sched_setaffinity(0, cores)
