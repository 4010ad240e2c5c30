"""Passwords for commands: from a pipe or a prompt, so that none has to stand on a command line that `ps` shows."""

from __future__ import annotations

import getpass
import sys
from typing import TextIO, cast

from pillarbox.cli.flags import UsageError, complain

SHORT = 8  # characters; shorter ones are taken with a warning


NONE = "Error: no password; type it at the prompt, or pipe it in with --password-stdin"


def obtain_password(given: str | None, *, from_stdin: bool, confirm: bool, stdin: TextIO | None = None) -> str:
    """The password given, or the first line of a pipe, or what is typed at a prompt (twice with `confirm`).

    `-` stands for the pipe. Raises UsageError when there is none, or the two differ.
    """
    stdin = stdin or cast(TextIO | None, sys.stdin)
    if given == "-":
        given, from_stdin = None, True
    if given is not None and from_stdin:
        raise UsageError("Error: give the password once, either as an argument or on standard input")
    if given is not None:
        password = given
    elif stdin is None:  # closed
        raise UsageError(NONE)
    elif from_stdin or not stdin.isatty():
        password = stdin.readline().removesuffix("\n").removesuffix("\r")
    else:
        password = _prompt(confirm)
    if not password:
        raise UsageError(NONE)
    if any("\ud800" <= char <= "\udfff" for char in password):
        raise UsageError("Error: the password is not UTF-8")
    if confirm and len(password) < SHORT:
        complain(f"Warning: the password has fewer than {SHORT} characters")
    return password


def _prompt(confirm: bool) -> str:
    try:
        password = getpass.getpass("Password: ")
        if confirm and getpass.getpass("Again: ") != password:
            raise UsageError("Error: the two passwords differ")
    except EOFError:
        raise UsageError(NONE) from None
    return password
