"""Rounds of a run side by side: every kind of load, at each server in turn, again and again; medians in one table.

A shared machine's speed swings within seconds. So servers take turns within a kind of load, and what is compared are
medians of the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

SIZES = {"1K": 1024, "10K": 10 * 1024, "100K": 100 * 1024}
SESSIONS = (1, 10, 50)
MODES = ("one", "many")  # messages a connection

S = TypeVar("S")


@dataclass
class Round:
    """One server, one kind of load, once.

    `rate` in messages a second; CPU seconds per thousand messages: `cpu` of the whole server side, `load` of what sends
    to it and takes from it, on the same processors.
    """

    server: str
    size: str
    sessions: int
    mode: str
    messages: int
    rate: float
    cpu: float
    load: float


@dataclass
class Medians:
    """Of one server's rounds under one kind of load."""

    rate: float
    cpu: float
    load: float

    @classmethod
    def of(cls, rounds: list[Round]) -> Medians:
        return cls(median(r.rate for r in rounds), median(r.cpu for r in rounds), median(r.load for r in rounds))

    def __str__(self) -> str:
        return f"{self.rate:.0f} ({self.cpu:.2f})"


def arguments() -> argparse.ArgumentParser:
    """What every run side by side can be told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--sessions", nargs="*", type=int, default=list(SESSIONS))
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("--json", type=Path, help="write every round there too")
    return parser


def play(
    servers: Sequence[S], options: argparse.Namespace, measure: Callable[[S, str, int, str], Round]
) -> list[Round]:
    """All rounds that `options` of `arguments` ask for. `measure` gets a server, a size, sessions and a mode."""
    rounds: list[Round] = []
    try:
        for number in range(options.rounds):
            for size, sessions, mode in itertools.product(options.sizes, options.sessions, options.modes):
                for server in servers:
                    done = measure(server, size, sessions, mode)
                    rounds.append(done)
                    print(
                        f"{number + 1}/{options.rounds} {done.server:16} {size:>4} x{sessions:<2} {mode:4} "
                        f"{done.rate:7.0f} msg/s  {done.cpu:6.2f} CPU s/1000, load {done.load:5.2f}",
                        flush=True,
                    )
    finally:
        if options.json:
            options.json.write_text(json.dumps([asdict(r) for r in rounds]))
    return rounds


def table(rounds: list[Round], columns: Mapping[str, Callable[[dict[str, Medians]], str]]) -> str:
    """Markdown, a row for each kind of load. `columns`: heading → what it says of the medians, which have server names.

    Where one of its servers was not measured a column has a dash.
    """
    lines = [
        f"| size | sessions | messages a connection | {' | '.join(columns)} |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for cell in dict.fromkeys((r.size, r.sessions, r.mode) for r in rounds):
        mine = [r for r in rounds if (r.size, r.sessions, r.mode) == cell]
        medians = {name: Medians.of([r for r in mine if r.server == name]) for name in {r.server for r in mine}}
        shown = []
        for column in columns.values():
            try:
                shown.append(column(medians))
            except KeyError:
                shown.append("-")
        lines.append(f"| {' | '.join([cell[0], str(cell[1]), cell[2], *shown])} |")
    return "\n".join(lines)
