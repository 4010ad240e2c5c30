"""The mail that tells somebody that a quota is nearly used up: once for each threshold, until there is room again."""

from __future__ import annotations

from pillarbox.store import mailboxes, messages, quota_warnings
from pillarbox.store.quota import QuotaRoot
from pillarbox.store.tx import Tx

from . import notice, report_delivery

SLACK = 5  # per cent below a threshold before it counts as left: nobody is told again for one message to and fro


def level_of(percent: int, warned: int, thresholds: tuple[int, ...]) -> int:
    """The threshold that somebody who was told of `warned` per cent stands at now, 0 below all of them."""
    reached = max((one for one in thresholds if percent >= one), default=0)
    kept = max((one for one in thresholds if one <= warned and percent > one - SLACK), default=0)
    return max(reached, kept)


def due(tx: Tx, thresholds: tuple[int, ...]) -> list[int]:
    """Whom `warn` has something to do for. A scan."""
    found = []
    for candidate in quota_warnings.candidates(tx, min(thresholds, default=100)):
        watched = quota_warnings.watched(tx, candidate)
        if watched and level_of(watched.root.percent, watched.warned, thresholds) != watched.warned:
            found.append(candidate)
    return found


def warn(tx: Tx, candidate: int, thresholds: tuple[int, ...], hostname: str) -> bool:
    """Tell the account, or the postmaster of the domain, if a higher threshold was reached; whether mail was made.

    The account's own warning goes into its INBOX even beyond its quota.
    """
    watched = quota_warnings.watched(tx, candidate)
    if watched is None:
        return False
    level = level_of(watched.root.percent, watched.warned, thresholds)
    if level == watched.warned:
        return False
    watched.note(tx, level)
    if level < watched.warned:
        return False
    key = f"quota.{watched.root.name.replace('/', '.').replace('@', '.')}.{level}.{tx.now}"
    content = _mail(watched.root, watched.address, level, hostname, tx.now, key)
    if watched.user_id is None:
        return report_delivery.post(tx, content, watched.address, key)
    messages.append(tx, mailboxes.ensure_inbox(tx, watched.user_id), notice.new_message(content), beyond=True)
    return True


def _mail(root: QuotaRoot, address: str, level: int, hostname: str, now: int, key: str) -> bytes:
    kind, _, name = root.name.partition("/")
    whose = "Your mailbox is" if kind == "user" else f"The mail of {name} is"
    octets, most = root.storage
    used = [f"{in_words(octets)} of {in_words(most)}"] if most else []
    used += [f"{root.messages[0]} of {root.messages[1]} messages"] if root.messages[1] else []
    name = key.encode("ascii", "replace").decode().replace("?", "_").replace(" ", "_")
    lines = (
        f"{whose} more than {level} % full: {' and '.join(used)}.",
        "",
        "When it is full, new mail is refused and its senders are told so. Delete what is",
        "not needed any more, and empty the trash; or ask for a larger quota.",
    )
    return notice.render(address, f"{whose} {root.percent} % full", name, hostname, now, *lines)


def in_words(octets: int) -> str:
    """Octets as people write them."""
    size, units = float(octets), ["bytes", "KB", "MB", "GB", "TB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}" if units[0] != "bytes" else f"{octets} bytes"


def thresholds_of(text: str) -> tuple[int, ...]:
    """The setting, as numbers."""
    return tuple(map(int, text.split()))
