"""Which renames, one after the other, make the names of an account's mailboxes what they are now.

Each takes along what is below (RFC 9051 section 6.3.6), and none goes to a name that is taken then: whoever is told of
them in this order (RFC 5465 section 5.4) can follow. Mailboxes that have changed places cannot be told so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pillarbox.store.mailbox_names import DELIMITER

MOST = 50  # renames; of more than that at once nobody is told as such


class Rename(NamedTuple):
    """A mailbox (its id) and all below it had one name and have another."""

    id: int
    old: str
    new: str


def in_order(before: Mapping[int, str], after: Mapping[int, str]) -> tuple[list[Rename], dict[int, str]]:
    """Names by id, of the same mailboxes, before and after. The renames, and which names there are when these are done;
    those that still differ from `after` have no renames that could be told."""
    names = dict(before)
    ids = {name: mailbox_id for mailbox_id, name in names.items()}
    done: list[Rename] = []
    while len(done) < MOST:
        wrong = [one for one, name in names.items() if name != after[one]]
        # From the top: what is below comes along.
        wrong.sort(key=lambda one: (names[one].count(DELIMITER), names[one]))
        for one in wrong:
            if moved := _moved(names, ids, names[one], after[one]):
                done.append(Rename(one, names[one], after[one]))
                for other in moved:
                    del ids[names[other]]
                names.update(moved)
                ids.update((name, other) for other, name in moved.items())
                break
        else:
            break
    return done, names


def _moved(names: Mapping[int, str], ids: Mapping[str, int], old: str, new: str) -> dict[int, str]:
    """New names of a mailbox and of what is below it; nothing when one of them is taken, or below the old one."""
    below = old + DELIMITER
    if new.startswith(below) or new in ids:
        return {}
    moved = {one: new + name[len(old) :] for one, name in names.items() if name == old or name.startswith(below)}
    return {} if any(ids.get(name, one) not in moved for one, name in moved.items()) else moved
