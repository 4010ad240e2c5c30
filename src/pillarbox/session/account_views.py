"""The views of accounts that somebody of this worker follows: one of each, kept as long as somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from pillarbox.store import Store, folders
from pillarbox.store.errors import StoreError

from .account_view import AccountView, News
from .watch import MailboxWatch

log = structlog.get_logger()

LOOK_EVERY = 1.0  # seconds between two questions whether a hint was lost


class AccountViews:
    """`join` and `leave`. Hints make news come at once; that none is lost is looked after once a second."""

    def __init__(self, store: Store, watch: MailboxWatch) -> None:
        self._store = store
        self._watch = watch
        self._views: dict[int, tuple[AccountView, asyncio.Task[None]]] = {}
        self._directory_listeners: dict[object, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    async def join(self, user_id: int, who: object, callback: Callable[[News], None]) -> AccountView:
        """Follow an account: `callback` hears the news of it from now on. Raises StoreError."""
        if user_id not in self._views:
            if not self._views:
                self._watch.user(0, self, self._directory)
                self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._tick)
            view = AccountView(self._store, user_id)
            self._watch.user(user_id, self, view.touched)
            self._views[user_id] = view, asyncio.get_running_loop().create_task(view.load())
        view, loading = self._views[user_id]
        view.listeners[who] = callback
        try:
            await asyncio.shield(loading)
        except BaseException:
            self.leave(user_id, who)
            raise
        return view

    def leave(self, user_id: int, who: object) -> None:
        view, _ = self._views.get(user_id, (None, None))
        if view is None:
            return
        view.listeners.pop(who, None)
        if view.listeners:
            return
        del self._views[user_id]
        view.close()
        self._watch.leave_user(user_id, self)
        if not self._views:
            self._watch.leave_user(0, self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def directory(self, who: object, callback: Callable[[], None]) -> None:
        """Call back when the directory changes: rights, among other things. For those who have joined."""
        self._directory_listeners[who] = callback

    def leave_directory(self, who: object) -> None:
        self._directory_listeners.pop(who, None)

    def doubt(self) -> None:
        """Too much has changed to say what."""
        for view, _ in self._views.values():
            view.doubt()

    def _directory(self, ids: Sequence[int]) -> None:
        if 0 in ids:  # what everybody sees of the server may have changed
            for view, _ in self._views.values():
                view.touched(())
            for callback in tuple(self._directory_listeners.values()):
                callback()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_EVERY, self._tick)
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self.look())

    async def look(self) -> None:
        """Which accounts have come further than at the last look at everything: they are looked at again."""
        due = {user_id: view for user_id, (view, _) in self._views.items() if view.due()}
        if not due:
            return
        try:
            numbers = await self._store.read(folders.numbers, list(due))
        except StoreError as error:
            log.warning("Accounts could not be looked at", error=str(error))
            return
        for user_id, view in due.items():
            if numbers.get(user_id) != view.walked_to:
                view.doubt()
