"""Signals of the supervisor: they wake its `select`, and wait while one program takes the place of another."""

from __future__ import annotations

import os
import signal

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class Signals:
    """Caught from its making on; `fileno` is readable when some have come."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in HEARD:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        release()  # those that came during an upgrade

    def fileno(self) -> int:
        return self._reader

    def take(self) -> set[int]:
        """Numbers of those that have come."""
        try:
            return set(os.read(self._reader, 4096))
        except BlockingIOError:
            return set()

    def forget(self) -> None:
        """In a child: they are the parent's."""
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)


def hold() -> None:
    """From now on they wait, also over `execve`: a program that has just started would die of them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)


def release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
