"""`pillarbox backup` and `pillarbox pause`: copies of the database while the server runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pillarbox.cli.command_line import AsJson, Database, Refused, file_of
from pillarbox.cli.flags import UsageError, complain
from pillarbox.cli.tables import print_done
from pillarbox.store import backup as copying


def register(app: typer.Typer) -> None:
    """Add both to the commands of `pillarbox`."""
    app.command()(backup)
    app.command(context_settings={"allow_interspersed_args": False})(pause)


def backup(
    file: Annotated[Path, typer.Argument(help="The copy; it must not exist yet.")],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Copy the database as of one moment, verified, while the server goes on taking mail."""
    path = file_of(db, "pg_dump")
    began = time.monotonic()
    size = copying.backup(str(path), str(file))
    seconds = round(time.monotonic() - began, 3)
    facts = {"database": str(path), "backup": str(file), "size": size, "seconds": seconds, "integrity_check": "ok"}
    print_done(f"Backup successful: {file}, {size} octets, integrity ok, {seconds:.1f} s", facts, as_json=as_json)


def pause(
    seconds: Annotated[float, typer.Argument(min=0.001, max=copying.LONGEST_PAUSE)],
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this meanwhile, and go on when it has ended.")
    ] = None,
    db: Database = None,
) -> None:
    """Let nobody write to the database for so long: mail waits, reading goes on.

    For a copy by another program, such as sqlite3's .backup, which begins again at every change. The pause ends after
    SECONDS, with its command, or by Ctrl-C; the exit status is the command's.
    """
    if command and command[0].startswith("-"):
        raise UsageError(f"Options go before SECONDS: {command[0]}")
    path = file_of(db, "pg_dump")
    signal.signal(signal.SIGTERM, _end)  # so that the command is ended too
    with copying.paused(str(path)):
        if not command:
            print(f"Paused for {seconds:g} s", flush=True)
            time.sleep(seconds)
            return
        process = _start(command)
        status = _wait(process, seconds)
    if status is None:
        complain(f"pillarbox pause: {seconds:g} s are over and mail goes on; {command[0]} still runs")
        status = _wait(process, None)
    if status:
        raise typer.Exit(status if status > 0 else 128 - status)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command)
    except OSError as error:
        raise Refused(f"{command[0]}: {(error.strerror or str(error)).lower()}") from error


def _wait(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    """Its exit status; None when it still runs after so many seconds. Who interrupts us ends it."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
