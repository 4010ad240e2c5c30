"""The beginning of a command: its tag and its name, and whether that command is legal in this state."""

from __future__ import annotations

import re

from pillarbox.imap.extensions import MISSING_COMMANDS
from pillarbox.imap.rules import COMMANDS, Rule
from pillarbox.imap.state import State

# tag, RFC 9051 section 9: ASTRING-CHARs but "+"
_HEAD = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,255}) ((?:[Uu][Ii][Dd] )?[A-Za-z]{1,20})( |\Z)")
_TAG = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,255})(?: |\Z)")


def understood(line: bytes, state: State) -> tuple[re.Match[bytes], Rule] | str:
    """Tag and name as groups 1 and 2 of a match, and the rule of the command; or why it cannot be."""
    head = _HEAD.match(line)
    if head is None:
        return "a command is a tag, a space and a name"
    name = head[2].upper().decode("ascii")
    rule = COMMANDS.get(name)
    if rule is not None and state in rule.states:
        return head, rule
    if rule is None:
        missing = MISSING_COMMANDS.get(name)
        if missing is not None:
            return f"{name} needs {missing.name} (RFC {missing.rfc}), which this server does not have"
        return f"there is no command {name}"
    if state is State.NOT_AUTHENTICATED:
        return f"{name} is for later: log in first"
    if State.SELECTED in rule.states:
        return f"{name} needs a mailbox: SELECT one first"
    return f"{name} is not for now: you are logged in already"


def tag_of(text: bytes) -> bytes:
    """The tag that a text begins with, `*` for none: what is wrong with a command can be answered."""
    tag = _TAG.match(text)
    return tag[1] if tag else b"*"
