"""Work on the store from a command: open it, run functions in it, close it. The server may run meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pillarbox.config.postgres_url import PostgresUrl, StoreName
from pillarbox.server import logging
from pillarbox.store import directory
from pillarbox.store.migration import Applied
from pillarbox.store.opening import migrate, open_store
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx
from pillarbox.store.whole_copy import Copied, Progress, copy_store

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


def on_store(name: StoreName, work: Callable[[Store], Awaitable[T]], *, create: bool = True) -> T:
    """`work(store)` on the store of this name, its schema brought up to date first.

    With `create` a missing file is made. Raises NoDatabase, StoreError and what `work` raises.
    """
    if not create:
        require(name)
    _must_be_ours(name)
    _require_folder(name)
    _quiet()

    async def run() -> T:
        store = await open_store(name)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def make_ready(name: StoreName) -> list[Applied]:
    """Create the database or bring its schema up to date; what was applied. Raises NoFolder, StoreError."""
    _require_folder(name)
    _quiet()
    return migrate(name)


def copy(source: StoreName, target: StoreName, progress: Progress) -> Copied:
    """The whole store into another database. Raises NoDatabase, NoFolder, StoreError."""
    require(source)
    _must_be_ours(source)
    _require_folder(target)
    _quiet()
    return copy_store(source, target, progress)


def is_there(name: StoreName) -> bool:
    """Whether there is something to open. A server for databases says so itself. Raises NotOurs."""
    return isinstance(name, PostgresUrl) or _exists(name)


def require(name: StoreName) -> None:
    """Raises NoDatabase and NotOurs."""
    if isinstance(name, Path) and not _exists(name):
        raise NoDatabase(name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        raise NotOurs(path) from None


def _must_be_ours(name: StoreName) -> None:
    """A file that is there can be written; who only looks needs less."""
    if isinstance(name, Path) and _exists(name) and not os.access(name, os.R_OK | os.W_OK):
        raise NotOurs(name)


def _require_folder(name: StoreName) -> None:
    if isinstance(name, Path) and not name.parent.is_dir():
        raise NoFolder(name.parent)


def _quiet() -> None:
    """Standard output is for answers: of the log only warnings, and to standard error."""
    logging.configure(json=False, level="warn")


def write(name: StoreName, fn: Callable[[Tx], T], *, create: bool = False) -> T:
    """One store function in one durable transaction."""

    async def work(store: Store) -> T:
        return await store.write(fn)

    return on_store(name, work, create=create)


def read(name: StoreName, fn: Callable[[Tx], T]) -> T:
    """One store function that only reads, all of it at one moment."""

    async def work(store: Store) -> T:
        return await store.scan(fn)

    return on_store(name, work, create=False)


async def ensure_account(store: Store, username: str, password: str) -> None:
    """Make the account with this password unless there is one of that name."""
    if await store.read(directory.user, username) is not None:
        return
    from pillarbox.access.passwords import hash_password

    hashed, scram = hash_password(password)
    await store.write(directory.create_user, username, username, hashed, scram)
