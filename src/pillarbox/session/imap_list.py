"""LIST with its extensions (RFC 9051 section 6.3.9, RFC 5258, 5819, 6154) and LSUB (RFC 3501 section 6.3.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.imap import acl_grammar, metadata_grammar, responses
from pillarbox.imap.commands import List
from pillarbox.imap.events import Command
from pillarbox.imap.list_pattern import ListMatcher
from pillarbox.imap.mailbox_name import DELIMITER
from pillarbox.session.imap_answers import Answer
from pillarbox.session.imap_metadata import choose, entries_of
from pillarbox.session.imap_status import status_items
from pillarbox.store import Tx, mailboxes, rights, sharing
from pillarbox.store.records import Mailbox
from pillarbox.store.sharing import Seen

if TYPE_CHECKING:
    from pillarbox.session.imap import ImapSession


_LINES = 512  # responses between two looks at the transport


class Hierarchy:
    """The names of an account: mailboxes, subscriptions, and levels that exist only because of what is below them."""

    __slots__ = ("boxes", "names", "parents", "rights", "subscribed")

    def __init__(self, boxes: list[Mailbox], subscribed: list[str], shared: list[Seen]) -> None:
        self.boxes = {seen.box.name: seen.box for seen in shared} | {box.name: box for box in boxes}
        self.rights = {seen.box.name: seen.rights for seen in shared}  # of others' mailboxes
        self.subscribed = frozenset(subscribed)
        self.parents: set[str] = set()  # names with a mailbox somewhere below
        for name in self.boxes:
            self.parents.update(_above(name))
        self.names = sorted({*self.boxes, *self.parents}, key=_inbox_first)

    def attributes(self, name: str, *, subscribed: bool = False) -> list[str]:
        """What LIST says of a name; `subscribed`: whether \\Subscribed is wanted."""
        box = self.boxes.get(name)
        words = [] if box is not None else ["\\NonExistent", "\\Noselect"]  # RFC 5258 section 3.4
        words.append("\\HasChildren" if name in self.parents else "\\HasNoChildren")
        if box is not None and box.special_use:
            words += box.special_use.split()
        if subscribed and name in self.subscribed:
            words.append("\\Subscribed")
        return words


def _listed(tx: Tx, user_id: int, args: List) -> tuple[Hierarchy, list[tuple[str, list[str]]]]:
    """The hierarchy, and what of it LIST shows. Many names are matched in the thread that reads them."""
    tree = Hierarchy(
        mailboxes.list_mailboxes(tx, user_id), mailboxes.subscriptions(tx, user_id), sharing.shared(tx, user_id)
    )
    return tree, _chosen(tree, args)


def _subscribed(tx: Tx, user_id: int, args: List) -> dict[str, list[str]]:
    """The names that LSUB shows, with their attributes."""
    matches = ListMatcher(args.reference, args.patterns)
    names = mailboxes.subscriptions(tx, user_id)
    shown: dict[str, list[str]] = {name: [] for name in names if matches(name)}
    for name in names:
        if name not in shown:
            for parent in _above(name):
                if matches(parent):
                    shown.setdefault(parent, ["\\Noselect"])
    return shown


def attributes(box: Mailbox) -> list[str]:
    """Of a mailbox by itself, without looking at its children: for the LIST response of SELECT."""
    return box.special_use.split() if box.special_use else []


async def list_(session: ImapSession, command: Command) -> Answer:
    """Answer LIST."""
    args = command.args
    assert isinstance(args, List)
    core, utf8 = session.core, session.utf8
    if args.patterns == ("",) and not args.extended:  # RFC 9051 section 6.3.9: only the delimiter is asked for
        core.untagged(responses.listing(["\\Noselect"], "", utf8=utf8))
        return Answer("LIST completed")
    tree, chosen = await session.store.read(_listed, session.user_id, args)
    for count, (name, child_info) in enumerate(chosen, 1):
        words = tree.attributes(name, subscribed=bool({"SUBSCRIBED"} & (args.select | args.returns)))
        box = tree.boxes.get(name)
        has = tree.rights.get(name, rights.ALL)
        if args.status and box is not None and "r" not in has:
            words.insert(0, "\\Noselect")  # RFC 5819 section 2: in the place of its STATUS
        core.untagged(responses.listing(words, name, utf8=utf8, child_info=child_info))
        if "MYRIGHTS" in args.returns and box is not None:  # RFC 8440
            core.untagged(acl_grammar.my_rights(name, has, utf8))
        if args.status and box is not None and "r" in has:  # RFC 5819 section 2: none for what cannot be selected
            core.untagged(responses.status(name, await status_items(session, box, args.status), utf8))
        if args.metadata and box is not None and "r" in has:  # RFC 9590
            entries = await session.store.read(entries_of, session.user_id, box)
            session.core.untagged(metadata_grammar.metadata(name, choose(entries, args.metadata), utf8))
        if count % _LINES == 0:
            await session.drained()
    return Answer("LIST completed")


def _chosen(tree: Hierarchy, args: List) -> list[tuple[str, list[str]]]:
    """The names to be listed, each with its CHILDINFO."""
    matches = ListMatcher(args.reference, args.patterns)
    options = sorted(args.select & {"SUBSCRIBED", "SPECIAL-USE"})
    if not options:
        return [(name, []) for name in tree.names if matches(name)]
    selected = {name for name in {*tree.names, *tree.subscribed} if all(_meets(tree, name, o) for o in options)}
    chosen: dict[str, list[str]] = {name: [] for name in selected if matches(name)}
    if "RECURSIVEMATCH" in args.select:
        _add_parents(tree, selected, chosen, matches, options)
    return sorted(chosen.items(), key=lambda entry: _inbox_first(entry[0]))


def _add_parents(
    tree: Hierarchy, selected: set[str], chosen: dict[str, list[str]], matches: ListMatcher, options: list[str]
) -> None:
    """RFC 5258 section 3.5: names above a selected one, with CHILDINFO; those not selected themselves only where
    the selected one below is not listed anyway."""
    hidden: set[str] = set()  # names with something selected below that does not match the pattern
    above: set[str] = set()
    for name in selected:
        above.update(_above(name))
        if name not in chosen:
            hidden.update(_above(name))
    for name in above:
        if name in chosen or (name in hidden and matches(name)):
            chosen[name] = options


def _meets(tree: Hierarchy, name: str, option: str) -> bool:
    if option == "SUBSCRIBED":
        return name in tree.subscribed
    box = tree.boxes.get(name)
    return box is not None and box.special_use is not None


async def lsub(session: ImapSession, command: Command) -> Answer:
    """Answer LSUB: subscribed names; with `%` also the levels above those it hides, as \\Noselect."""
    args = command.args
    assert isinstance(args, List)
    shown = await session.store.read(_subscribed, session.user_id, args)
    for name in sorted(shown, key=_inbox_first):
        session.core.untagged(responses.listing(shown[name], name, utf8=session.utf8, verb=b"LSUB"))
    return Answer("LSUB completed")


def _above(name: str) -> list[str]:
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]


def _inbox_first(name: str) -> tuple[bool, list[str]]:
    return name != "INBOX", name.split(DELIMITER)
