"""THREAD (RFC 5256 sections 3 and 4): messages made into trees by subject or by references, and how these are told.

Nothing here recurses: a chain of a hundred thousand replies costs memory in proportion, and no stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pillarbox.mime.casemap import casemap

ALGORITHMS = frozenset({"ORDEREDSUBJECT", "REFERENCES"})


@dataclass(slots=True, frozen=True)
class Threadable:
    """What threads are made of: `number` is what the client is told, `sent` the sent date (seconds UTC).

    `references` are the message ids of References, or if there are none the first of In-Reply-To, oldest first.
    `base` is the base subject, `reply` whether the subject had marks of a reply or a forward.
    """

    number: int
    sent: int
    base: str = ""
    reply: bool = False
    message_id: str = ""
    references: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Node:
    """A message of a thread, or with None a place for messages that are not here. Children are in order."""

    message: Threadable | None
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None
    named: bool = False  # it is somebody's parent: only then it can be above another


def ordered_subject(messages: Iterable[Threadable], key: Callable[[str], str] = casemap) -> list[Node]:
    """ORDEREDSUBJECT: one thread a base subject, all others children of the one that was sent first. `key` is that of
    the comparator (RFC 5255 section 4.2)."""
    threads: dict[str, list[Threadable]] = {}
    for message in sorted(messages, key=_by_date):
        threads.setdefault(key(message.base), []).append(message)
    return [Node(first, [Node(other) for other in others]) for first, *others in threads.values()]


def by_references(messages: Sequence[Threadable], key: Callable[[str], str] = casemap) -> list[Node]:
    """REFERENCES: by what each message says it answers, then by subject."""
    roots = _pruned(_linked(messages))
    roots.sort(key=_thread_date)
    roots = _joined_by_subject(roots, key)
    _sort_children(roots)
    roots.sort(key=_thread_date)
    return roots


def _by_date(message: Threadable) -> tuple[int, int]:
    return message.sent, message.number


# Steps 1 and 2: the tree of ids.


def _linked(messages: Sequence[Threadable]) -> list[Node]:
    """All nodes without a parent, in the order in which their ids were met first."""
    nodes: dict[str, Node] = {}
    every: list[Node] = []

    def node(key: str) -> Node:
        found = nodes.get(key)
        if found is None:
            found = nodes[key] = Node(None)
            every.append(found)
        return found

    for message in messages:
        key = normal_id(message.message_id)
        mine = node(key) if key else None
        if mine is None or mine.message is not None:  # no id, or one that was here already: an id of its own
            mine = Node(message)
            every.append(mine)
        else:
            mine.message = message
        ancestor: Node | None = None
        for reference in message.references:
            named = node(normal_id(reference))
            if ancestor is not None and named.parent is None and not _is_above(named, ancestor):
                named.parent = ancestor
                ancestor.named = True
            ancestor = named
        # What the message itself says goes before what others said of it; without a word of its own theirs stands.
        if ancestor is not None and not _is_above(mine, ancestor):
            mine.parent = ancestor
            ancestor.named = True
    for one in every:
        if one.parent is not None:
            one.parent.children.append(one)
    return [one for one in every if one.parent is None]


def _is_above(node: Node, other: Node) -> bool:
    """Is `node` the other, or one of its ancestors."""
    if not node.named:
        return node is other
    at: Node | None = other
    while at is not None:
        if at is node:
            return True
        at = at.parent
    return False


def normal_id(message_id: str) -> str:
    """A message id without needless quotes: `<"a"@b>` is `<a@b>` (RFC 5256 section 2.2)."""
    if '"' not in message_id:
        return message_id
    quoted, at, domain = message_id.rpartition("@")
    if at and quoted.startswith('<"') and quoted.endswith('"') and len(quoted) > 2:
        inner = quoted[2:-1]
        plain, skip = [], False
        for character in inner:
            if character == "\\" and not skip:
                skip = True
                continue
            plain.append(character)
            skip = False
        return f"<{''.join(plain)}@{domain}"
    return message_id


# Step 3: places without a message.


def _pruned(roots: list[Node]) -> list[Node]:
    """Without dummies that have no child, and without those whose children can take their place."""
    order: list[Node] = []
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting.extend(node.children)
    for node in reversed(order):  # children before their parents
        kept: list[Node] = []
        for child in node.children:
            if child.message is not None:
                kept.append(child)
            else:
                kept += child.children  # of a dummy below the root the children move up; without any it is gone
        node.children = kept
    found: list[Node] = []
    for root in roots:
        if root.message is not None or len(root.children) > 1:
            found.append(root)
        else:
            found += root.children  # a dummy root stays only over several children
    return found


# Steps 4 and 5: by date and by subject.


def _thread_date(node: Node) -> tuple[int, int]:
    """The sent date of the message, of a dummy that of its first child."""
    if node.message is not None:
        return _by_date(node.message)
    return min(_by_date(child.message) for child in node.children if child.message is not None)


def _first(node: Node) -> Threadable:
    """The message that gives a thread its subject: the root, or of a dummy the child that was sent first."""
    if node.message is not None:
        return node.message
    return min((child.message for child in node.children if child.message is not None), key=_by_date)


def _joined_by_subject(roots: list[Node], key_of: Callable[[str], str]) -> list[Node]:
    table: dict[str, Node] = {}
    for root in roots:  # step 5B
        subject = _first(root)
        key = key_of(subject.base)
        if not key:
            continue
        there = table.get(key)
        if (
            there is None
            or (root.message is None and there.message is not None)
            or (there.message is not None and _first(there).reply and not subject.reply)
        ):
            table[key] = root
    found: list[Node] = []
    dummies: list[Node] = []
    merged: set[int] = set()
    for root in roots:  # step 5C
        if id(root) in merged:
            continue
        subject = _first(root)
        key = key_of(subject.base)
        there = table.get(key) if key else None
        if there is None or there is root:
            found.append(root)
        elif there.message is None and root.message is None:
            there.children += root.children
        elif there.message is None or (subject.reply and not _first(there).reply):
            there.children.append(root)
        else:  # siblings under a new dummy
            dummy = table[key] = Node(None, [there, root])
            dummies.append(dummy)
            merged.add(id(there))
    return [root for root in found if id(root) not in merged] + dummies


def _sort_children(roots: list[Node]) -> None:
    """Step 6: siblings by sent date."""
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        node.children.sort(key=_thread_date)
        waiting.extend(node.children)


# What is told.


def render(threads: Sequence[Node]) -> bytes:
    """The THREAD response: `THREAD (2)(3 6 (4 23)(44 7 96))` (RFC 5256 section 4)."""
    out: list[str] = []
    waiting: list[Node | str] = []
    for thread in threads:
        waiting += (")", thread, "(")
        while waiting:
            at = waiting.pop()
            if isinstance(at, str):
                out.append(at)
                continue
            spaced = out[-1] != "("
            if at.message is not None:
                out.append(f" {at.message.number}" if spaced else str(at.message.number))
                spaced = True
            if len(at.children) == 1:
                waiting.append(at.children[0])
            elif at.children:
                for child in reversed(at.children):
                    waiting += (")", child, "(")
                if spaced:
                    waiting.append(" ")
    body = "".join(out)
    return b"THREAD " + body.encode() if body else b"THREAD"
