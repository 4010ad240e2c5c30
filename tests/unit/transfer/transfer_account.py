"""An account in a store of its own, and commands on it."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pillarbox.cli import pillarbox
from pillarbox.store import blobs, check_store, directory, mailboxes, messages, open_store
from pillarbox.store.store import Store

ADA = "ada@example.com"


class Account:
    """What ada has, and commands on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.db = folder / "smtp.db"
        self._capsys = capsys
        self._patch = patch

    def run(self, *argv: str, stdin: str = "") -> tuple[int, str, str]:
        self._patch.setattr(sys, "stdin", io.StringIO(stdin))
        status = pillarbox.main([str(word) for word in argv])
        return (status, *self._capsys.readouterr())

    def json(self, *argv: Any, stdin: str = "") -> Any:
        status, out, err = self.run(*argv, "--json", stdin=stdin)
        assert status == 0, err
        return json.loads(out)

    def on_store(self, work: Callable[[Store, int], Any]) -> Any:
        async def run() -> Any:
            store = await open_store(self.db)
            try:
                user = await store.read(directory.user, ADA)
                assert user is not None
                return await work(store, user.id)
            finally:
                await store.close()

        return asyncio.run(run())

    def mailbox(self, name: str) -> tuple[Any, list[tuple[int, int, tuple[str, ...], int, bytes]]]:
        """The mailbox, and uid, flags, keywords, date, octets of each message."""

        async def work(store: Store, user_id: int) -> Any:
            box = await store.read(mailboxes.status, user_id, name)
            view = await store.read(messages.open_view, box.id)
            found = []
            for row, uid, flags, date in zip(
                await store.read(messages.rendered, list(view.ids)), view.uids, view.flags, view.dates, strict=True
            ):
                octets = row.prefix + await store.read(blobs.read_slice, row.blob_id, 0, row.size)
                found.append((uid, flags, view.keywords.get(uid, ()), date, octets))
            return box, found

        return self.on_store(work)

    def check(self) -> None:
        assert check_store(self.db) == []
