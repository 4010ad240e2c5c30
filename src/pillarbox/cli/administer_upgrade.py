"""`pillarbox upgrade`: the running server becomes the program that lies where it was started from."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pillarbox.cli.command_line import AsJson, Refused
from pillarbox.cli.tables import print_done
from pillarbox.config.locate import runtime_folder
from pillarbox.server import standing
from pillarbox.server.standing import Attempt, NotRunning, Standing

LOOK = 0.1  # seconds between two looks at how far it is
HEARD = 15.0  # seconds within which a server says that it has begun


def register(app: typer.Typer) -> None:
    """Add it to the commands of `pillarbox`."""
    app.command()(upgrade)


def upgrade(
    runtime_dir: Annotated[
        Path | None,
        typer.Option(help="The server's folder (default: SMTP_RUNTIME_DIR, else the database's).", metavar="DIR"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace the running program by the one that is installed now, without a restart; back by the same.

    The new one first shows that it can serve. If it cannot, the old one goes on, and the exit status is 1.
    """
    folder = runtime_dir or runtime_folder()
    before = _read(folder)
    if before.upgrade is not None and before.upgrade.state == "running":
        raise Refused(f"an upgrade is under way already: {before.upgrade.text}")
    try:
        os.kill(before.pid, signal.SIGUSR2)
    except PermissionError as error:
        raise Refused(f"process {before.pid} is another account's; run this as that one, or as root") from error
    except ProcessLookupError as error:
        raise Refused(f"process {before.pid} has ended") from error
    attempt, after = _wait(folder, before, quiet=as_json)
    if attempt.state == "failed":
        raise Refused(f"the upgrade failed, version {before.version} goes on: {attempt.text}")
    facts = {"before": attempt.before, "version": after.version, "workers": after.workers, "pid": after.pid}
    print_done(
        f"Version {attempt.before} became {after.version}; {after.workers} workers, still process {after.pid}",
        facts,
        as_json=as_json,
    )


def _wait(folder: Path, before: Standing, *, quiet: bool) -> tuple[Attempt, Standing]:
    """The outcome. Raises Refused when the server is gone or does not answer."""
    last = before.upgrade.number if before.upgrade else 0
    end = time.monotonic() + HEARD
    said = ""
    while True:
        now = _read(folder)
        if now.pid != before.pid:
            raise Refused(f"process {before.pid} has ended, and {now.pid} serves now")
        attempt = now.upgrade
        if attempt is not None and attempt.number > last:
            if attempt.state != "running":
                return attempt, now
            if attempt.text != said and not quiet:
                said = attempt.text
                print(f"{said} ...", file=sys.stderr, flush=True)
        elif time.monotonic() > end:
            raise Refused(f"process {before.pid} does not say that it has begun; see the log")
        time.sleep(LOOK)


def _read(folder: Path) -> Standing:
    """Raises Refused."""
    try:
        return standing.read(folder)
    except NotRunning as error:
        raise Refused(str(error)) from error
    except PermissionError as error:
        raise Refused(f"{folder} may not be read; run this as the server's account, or as root") from error
