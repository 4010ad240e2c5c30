"""`filter-mailboxes` (RFC 5465 section 8): which mailboxes a command is about. For ESEARCH and NOTIFY."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pillarbox.imap.mailbox_name import DELIMITER
from pillarbox.imap.syntax import BadSyntax, Cursor

KINDS = frozenset(
    {"SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "SUBTREE-ONE", "MAILBOXES"}
)
_NAMED = frozenset({"SUBTREE", "SUBTREE-ONE", "MAILBOXES"})
MAX_NAMES = 1000


@dataclass(slots=True, frozen=True)
class MailboxFilter:
    """`kind` is one of KINDS; `names` are those of SUBTREE, SUBTREE-ONE and MAILBOXES."""

    kind: str
    names: tuple[str, ...] = ()

    def chosen(self, names: Iterable[str], subscribed: frozenset[str]) -> list[str]:
        """Which of an account's mailboxes are meant (SELECTED is the session's to know)."""
        match self.kind:
            case "PERSONAL":
                return list(names)
            case "INBOXES":  # where mail is delivered
                return [name for name in names if name == "INBOX"]
            case "SUBSCRIBED":
                return [name for name in names if name in subscribed]
            case "MAILBOXES":
                return [name for name in names if name in self.names]
            case "SUBTREE":
                return [name for name in names if any(_is_below(name, top) for top in self.names)]
            case "SUBTREE-ONE":
                return [name for name in names if any(_is_below(name, top, deep=False) for top in self.names)]
        return []


def _is_below(name: str, top: str, *, deep: bool = True) -> bool:
    """Whether a name is this one or below it; everything is below the empty one."""
    below = name.removeprefix(top + DELIMITER) if top else name
    return name == top or ((below != name or not top) and (deep or DELIMITER not in below))


def mailbox_filter(cursor: Cursor) -> MailboxFilter:
    """One filter at the cursor."""
    kind = cursor.word("which mailboxes")
    if kind not in KINDS:
        raise BadSyntax(f"mailboxes are named by {', '.join(sorted(KINDS)).lower()}")
    if kind not in _NAMED:
        return MailboxFilter(kind)
    cursor.space()
    if cursor.peek(b"("):
        names = cursor.parenthesized(Cursor.mailbox, MAX_NAMES, "mailboxes")
        if not names:
            raise BadSyntax("a mailbox is missing")
        return MailboxFilter(kind, tuple(names))
    return MailboxFilter(kind, (cursor.mailbox(),))
