"""Work on the store from a command: open it, run functions in it, close it. The server may run meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pillarbox.server import logging
from pillarbox.store import directory
from pillarbox.store.migration import Applied
from pillarbox.store.opening import migrate, open_store
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

T = TypeVar("T")


class NoDatabase(Exception):
    """There is no database at the path, and the command is none that makes one."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no database at {path}; `user-cli init` makes one")


class NotOurs(NoDatabase):
    """It may be there, but this user may not work with it."""

    def __init__(self, path: Path) -> None:
        Exception.__init__(self, f"{path}: only the server's account and root may open it (`sudo -u smtp ...`)")


class NoFolder(NoDatabase):
    """There is not even a folder to make the database in."""

    def __init__(self, folder: Path) -> None:
        Exception.__init__(self, f"there is no folder {folder.absolute()}; make it, or set SMTP_DB_PATH")


def on_store(path: Path, work: Callable[[Store], Awaitable[T]], *, create: bool = True) -> T:
    """`work(store)` on the store at `path`, its schema brought up to date first.

    With `create` a missing database is made. Raises NoDatabase, StoreError and what `work` raises.
    """
    if not _is_there(path) and not create:
        raise NoDatabase(path)
    _require_folder(path)
    _quiet()

    async def run() -> T:
        store = await open_store(path)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def make_ready(path: Path) -> list[Applied]:
    """Create the database or bring its schema up to date; what was applied. Raises NoFolder, StoreError."""
    _require_folder(path)
    _quiet()
    return migrate(path)


def _is_there(path: Path) -> bool:
    """Raises NotOurs."""
    try:
        there = path.exists()
    except PermissionError:
        raise NotOurs(path) from None
    if there and not os.access(path, os.R_OK | os.W_OK):
        raise NotOurs(path)
    return there


def _require_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise NoFolder(path.parent)


def _quiet() -> None:
    """Standard output is for answers: of the log only warnings, and to standard error."""
    logging.configure(json=False, level="warn")


def write(path: Path, fn: Callable[[Tx], T], *, create: bool = False) -> T:
    """One store function in one durable transaction."""

    async def work(store: Store) -> T:
        return await store.write(fn)

    return on_store(path, work, create=create)


def read(path: Path, fn: Callable[[Tx], T]) -> T:
    """One store function that only reads, all of it at one moment."""

    async def work(store: Store) -> T:
        return await store.scan(fn)

    return on_store(path, work, create=False)


async def ensure_account(store: Store, username: str, password: str) -> None:
    """Make the account with this password unless there is one of that name."""
    if await store.read(directory.user, username) is not None:
        return
    from pillarbox.access.passwords import hash_password

    hashed, scram = hash_password(password)
    await store.write(directory.create_user, username, username, hashed, scram)
