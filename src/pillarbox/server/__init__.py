"""Processes: supervisor, workers, listeners, TLS certificates, reload, logging.

Starts and stops things; speaks no protocol itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillarbox.config import Loaded, Settings


def run(
    settings: Settings,
    *,
    load: Callable[[], Loaded] | None = None,
    on_ready: Callable[[Mapping[str, int]], None] | None = None,
) -> int:
    """Run the mail server in this process until SIGTERM or SIGINT; the exit status.

    `load` loads the settings again, for SIGHUP (by default as `smtp-server` without options would). `on_ready` is
    called with the TCP port of each role when all workers take connections. The caller has no thread, no event loop
    and no database connection: workers are forked from here.
    """
    from .application import PARTS
    from .reload import loader
    from .supervisor import Supervisor

    return Supervisor(
        settings,
        PARTS,
        load=load or loader({}, os.environ),
        environ=os.environ,
        on_ready=on_ready,
        user=settings.user,
    ).run()
