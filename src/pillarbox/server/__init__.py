"""Processes: supervisor, workers, listeners, TLS certificates, reload, logging.

Starts and stops things; speaks no protocol itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillarbox.config import Loaded, Settings

    from .inheritance import Inheritance
    from .program import Program


def run(
    settings: Settings,
    *,
    load: Callable[[], Loaded] | None = None,
    on_ready: Callable[[Mapping[str, int]], None] | None = None,
    program: Program | None = None,
    inheritance: Inheritance | None = None,
) -> int:
    """Run the mail server in this process until SIGTERM or SIGINT; the exit status.

    `load` loads the settings again, for SIGHUP (by default as `smtp-server` without options would). `on_ready` is
    called with the TCP port of each role when all workers take connections. `program` is the command that SIGUSR2
    starts, and `inheritance` what such a command found. The caller has no thread, no event loop and no database
    connection: workers are forked from here.
    """
    from .application import PARTS
    from .reload import loader
    from .supervisor import Supervisor
    from .trial import Trial

    if inheritance is not None and inheritance.handed is not None:
        return Trial(settings, PARTS, inheritance.handed).run()
    return Supervisor(
        settings,
        PARTS,
        load=load or loader({}, os.environ),
        environ=os.environ,
        on_ready=on_ready,
        program=program,
        inheritance=inheritance,
    ).run()
