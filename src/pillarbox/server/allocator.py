"""Memory that the allocator keeps after a burst goes back to the machine: a small one needs it for others."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def give_back() -> bool:
    """Have the C library return what is free (malloc_trim(3)): whether there was anything. False where it cannot.

    A millisecond, ten after a burst of large messages: not for the loop.
    """
    return _trim is not None and bool(_trim(0))


_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
