"""`pillarbox`: one word before everything. What must start at once or stay small in memory goes past typer."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pillarbox.cli.reader import while_read


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130  # as a shell reports SIGINT


def _run(words: list[str]) -> int:
    if words[:1] == ["try"]:
        from pillarbox.cli import try_server

        return try_server.main(words[1:])
    if words[:1] == ["serve"] or words in (["--version"], ["-v"]):
        from pillarbox.cli import smtp_server

        return smtp_server.main(words[1:] if words[0] == "serve" else words)
    from pillarbox.cli.administration import run

    return while_read(lambda: run(words))


if __name__ == "__main__":
    sys.exit(main())
