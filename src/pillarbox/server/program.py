"""How this program is started again, by its path: what lies there by then may be another version."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Program:
    """A command and its environment."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str]) -> Program:
        return cls(command(sys.argv, sys.orig_argv, is_module=sys.modules["__main__"].__spec__ is not None), environ)

    def __str__(self) -> str:
        return " ".join(self.argv)


def command(argv: list[str], original: list[str], *, is_module: bool) -> tuple[str, ...]:
    """`argv` and `original` as in `sys`. A script is started itself, for its first line may name another Python."""
    script = os.path.abspath(argv[0])
    if not is_module and os.access(script, os.X_OK):
        return (script, *argv[1:])
    return (sys.executable, *original[1:])
