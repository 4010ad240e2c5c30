"""How far an import or export is: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, unit: str = "octets") -> Iterator[Callable[[int, int], None]]:
    """Gives a function for how much of `total` is done, and how many messages that was."""
    if not sys.stderr.isatty():
        yield lambda done, messages: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[messages]} messages"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=total or None, messages=0)

        def show(done: int, messages: int) -> None:
            bar.update(task, completed=done, messages=messages)

        yield show
