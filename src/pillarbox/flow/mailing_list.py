"""Distribution lists: who may post, what a post carries, and whom it reaches.

The list takes the message over: its sender becomes LIST-bounces, whose mail the owner reads, so that nobody who posts
hears of members whose mailboxes fail (RFC 3461 section 5.2.7.1). Subject, body and header stay as they are and so keep
their signatures; the fields of RFC 2369 and 2919 are put in front. Whoever posts and is a member gets a copy.

A list may have lists as members: what the outer one lets through reaches the members of the inner one, in its name.
"""

from __future__ import annotations

from email.header import Header
from typing import NamedTuple
from urllib.parse import quote

from pillarbox.store import list_lookup
from pillarbox.store.addresses import address_key, domain_key
from pillarbox.store.errors import Invalid
from pillarbox.store.records import ListRow
from pillarbox.store.resolution import is_local_domain, resolve
from pillarbox.store.tx import Tx

from .delivered_to import trace

MOST_ADDRESSES = 20_000  # that one post reaches
MOST_DEPTH = 5  # lists in lists
_TITLE = 200  # characters


class Post(NamedTuple):
    """What all copies of a post to one list have in common. `sender` is the list's address for bounces."""

    address: str
    sender: str
    list_id: str
    fields: bytes  # in front of the message, behind Return-Path and a member's Delivered-To


class Lost(NamedTuple):
    """A member that leads nowhere."""

    address: str
    reason: str
    post: Post


class TooLarge(Exception):
    """The list reaches more addresses, or nests deeper, than it may."""


def may_post(tx: Tx, list_id: int, sender: str) -> bool:
    """Whether `sender` (of the envelope) may send to the list. Never the null sender: bounces are no posts."""
    row = list_lookup.get_list(tx, list_id)
    if row is None or not sender:
        return False
    if row.posting == "anyone":
        return True
    try:
        key = address_key(sender)
    except Invalid:
        return False
    return key == row.owner or (row.posting == "members" and list_lookup.is_member(tx, list_id, key))


def post_of(row: ListRow) -> Post:
    """The fields of a list, the same for every post."""
    local, _, domain = row.address.rpartition("@")
    list_id = list_id_of(row.address)

    def mailto(suffix: str = "", subject: str = "") -> str:
        address = f"{quote(local + suffix, safe='!$*+-_.')}@{domain}"  # RFC 6068 section 2
        return f"<mailto:{address}{'?subject=' if subject else ''}{subject}>"

    fields = [
        f"Delivered-To: {row.address}",
        f"List-Id: {_phrase(row.title)}<{list_id}>",
        f"List-Post: {'NO' if row.posting == 'owner' else mailto()}",  # RFC 2369 section 3.4
        f"List-Owner: {mailto('-owner')}",
        f"List-Help: {mailto('-request', 'help')}",
        f"List-Unsubscribe: {mailto('-request', 'unsubscribe')}",
        "Precedence: list",  # older vacation programs know nothing else (RFC 3834 section 2)
    ]
    return Post(row.address, f"{local}-bounces@{domain}", list_id, "".join(f"{line}\r\n" for line in fields).encode())


def list_id_of(address: str) -> str:
    """The identifier of RFC 2919 section 2: the address with a dot for its at-sign, in ASCII."""
    local, _, domain = address.rpartition("@")
    name = quote(local.lower(), safe="!#$&'*+-/=?^_`{|}~.")
    return f"{name.strip('.')}.{domain_key(domain)}"


def _phrase(title: str) -> str:
    """A title as a phrase in front of the identifier, or nothing."""
    text = " ".join("".join(c if c.isprintable() else " " for c in title).split())[:_TITLE]
    if not text:
        return ""
    if not text.isascii():
        return Header(text, "utf-8", maxlinelen=75, header_name="List-Id").encode(linesep="\r\n") + "\r\n "
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '" '


class Expansion:
    """Whom the posts to some lists reach, each once: `users` by id, `forward` by address, `lost` members."""

    def __init__(self, tx: Tx) -> None:
        self.users: dict[int, tuple[str, Post]] = {}
        self.forward: dict[str, Post] = {}
        self.lost: list[Lost] = []
        self._tx = tx
        self._lists: set[int] = set()
        self._local: dict[str, bool] = {}

    def add(self, list_id: int, depth: int = 1) -> Post | None:
        """The members of one more list; None when it is gone. Raises TooLarge."""
        row = list_lookup.get_list(self._tx, list_id)
        if row is None:
            return None
        post = post_of(row)
        if list_id in self._lists:
            return post
        if depth > MOST_DEPTH:
            raise TooLarge(f"{row.address}: more than {MOST_DEPTH} lists lead to one another")
        self._lists.add(list_id)
        for address in list_lookup.member_addresses(self._tx, list_id):
            self._member(address, post, depth)
            if len(self.users) + len(self.forward) + len(self.lost) > MOST_ADDRESSES:
                raise TooLarge(f"{row.address}: more than {MOST_ADDRESSES} addresses")
        return post

    def _member(self, address: str, post: Post, depth: int) -> None:
        local, _, domain = address.rpartition("@")
        if not self._is_local(domain):
            self.forward.setdefault(address, post)
            return
        found = resolve(self._tx, local, domain)
        for user_id, _ in found.users:
            self.users.setdefault(user_id, (address, post))
        for target in found.forward:
            self.forward.setdefault(target, post)
        for list_id, _ in found.lists:
            self.add(list_id, depth + 1)
        if found.reason:
            self.lost.append(Lost(address, found.reason, post))

    def _is_local(self, domain: str) -> bool:
        known = self._local.get(domain)
        if known is None:
            known = self._local[domain] = is_local_domain(self._tx, domain)
        return known


def prefix_of(post: Post, received: bytes) -> bytes:
    """What stands in front of the message in a queue row."""
    return post.fields + received


def member_prefix(post: Post, member: str, received: bytes) -> bytes:
    """What stands in front of the message in a member's mailbox here."""
    return b"Return-Path: <%s>\r\n" % post.sender.encode() + trace(member) + post.fields + received
