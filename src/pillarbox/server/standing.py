"""A file in the runtime folder that says which server runs and how its last upgrade went, for `pillarbox upgrade`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import structlog

log = structlog.get_logger()

FILE = "server.json"


class Attempt(msgspec.Struct, kw_only=True):
    """One upgrade, the `number`th of this process; `text` is the step it is at, or why it failed."""

    number: int
    state: Literal["running", "done", "failed"]
    before: str  # the version
    text: str = ""


class Standing(msgspec.Struct, kw_only=True):
    """`started` is the time of the process's start as proc(5) has it, so that another one with its pid is not taken
    for it."""

    pid: int
    started: str
    version: str
    workers: int = 0
    upgrade: Attempt | None = None


class NotRunning(Exception):
    """There is no server there that could be asked; the text says what was found."""


def started(pid: int) -> str:
    """Clock ticks from boot to the start of a process; "" when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat.rpartition(b")")[2].split()[19].decode()  # the name before it may hold anything


class Board:
    """Where the server writes it. Never raises: a server that cannot say so serves all the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._warned = False

    def write(self, standing: Standing) -> None:
        path = self.folder / FILE
        fresh = path.with_suffix(".new")
        try:
            with suppress(FileNotFoundError):
                fresh.unlink()
            # The folder may be another account's than ours: no link of it is followed.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(fresh, flags, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(standing) + b"\n")
            fresh.replace(path)
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("`pillarbox upgrade` will not find this server", file=path, error=error.strerror)

    def remove(self) -> None:
        with suppress(OSError):
            (self.folder / FILE).unlink()


def read(folder: Path) -> Standing:
    """The server that runs with this folder. Raises NotRunning, PermissionError."""
    path = folder / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            standing = msgspec.json.decode(file.read(), type=Standing)
        if started(standing.pid) != standing.started:
            raise NotRunning(f"the server of {folder} has ended (its pid was {standing.pid})")
        if os.stat(f"/proc/{standing.pid}").st_uid != owner:
            raise NotRunning(f"{path} was not written by process {standing.pid}")
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise NotRunning(f"no server runs with the folder {folder}, or it is older than this command") from error
    except (OSError, msgspec.DecodeError) as error:
        raise NotRunning(f"{path}: {error}") from error
    return standing
