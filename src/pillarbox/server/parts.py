"""What the supervisor starts and does not know itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pillarbox.config import Settings

from .commons import Shared
from .worker import Build


@dataclass(frozen=True, slots=True)
class Parts:
    """The application, so that tests can give another.

    `build` makes the application of a worker. `prepare` runs in a child before the workers (migrations), `conclude` in
    one after the last of them. `share` makes what is given to every worker, once, before the first fork; its argument
    is the descriptor of one that another program made, or -1.
    """

    build: Build
    prepare: Callable[[Settings], None] = lambda _: None
    conclude: Callable[[Settings], None] = lambda _: None
    share: Callable[[int], Shared | None] = lambda _: None
