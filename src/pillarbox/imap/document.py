"""`docs/imap-extensions.md`, written from the tables of extensions and commands.

`python -m pillarbox.imap.document > docs/imap-extensions.md`
"""

from __future__ import annotations

from pillarbox.imap.extensions import EXTENSIONS, markdown
from pillarbox.imap.rules import COMMANDS
from pillarbox.imap.state import State

_STATES = (State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED)


def page() -> str:
    """The whole page."""
    have = sum(row.have for row in EXTENSIONS)
    return (
        "# IMAP: extensions and commands\n\n"
        "This page is written from the server's own tables (`python -m pillarbox.imap.document`): change those.\n"
        "The base is IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051, after `ENABLE IMAP4rev2`).\n\n"
        "## Extensions\n\n"
        f"{have} of {len(EXTENSIONS)} are here. A command of a missing one is answered BAD and names the extension.\n\n"
        f"{markdown()}\n"
        "## Commands\n\n"
        f"{_commands()}"
    )


def _commands() -> str:
    lines = ["| command | legal when | written in |", "|---|---|---|"]
    for name, rule in COMMANDS.items():
        states = ", ".join(state.value for state in _STATES if state in rule.states)
        lines.append(f"| {name} | {states} | {rule.rfc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
