"""The folders of somebody's IMAP server: their names there, and the mailboxes they go to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pillarbox.imap import mailbox_name
from pillarbox.imap.client import Untagged
from pillarbox.imap.response_parser import Value
from pillarbox.store.mailbox_names import DELIMITER, INBOX
from pillarbox.transfer.folder_names import below, fitting
from pillarbox.transfer.imap_connection import ImapConnection, Refused

_USES = {"\\sent": "\\Sent", "\\drafts": "\\Drafts", "\\trash": "\\Trash", "\\junk": "\\Junk", "\\archive": "\\Archive"}
_VIRTUAL = {"\\all", "\\flagged", "\\important"}  # what is in them is in other folders too (RFC 6154)
_NO_FOLDER = {"\\noselect", "\\nonexistent"}


class Folder(msgspec.Struct):
    """`raw` is the name as the server writes it, `name` with `/` between levels and without the namespace's prefix."""

    raw: bytes
    name: str
    use: str = ""
    subscribed: bool = False


async def list_folders(connection: ImapConnection) -> list[Folder]:
    """Every folder of the user that can be opened, without virtual ones. Raises Lost, Refused."""
    prefix = await _prefix(connection)
    extended = {"LIST-EXTENDED", "SPECIAL-USE"} <= connection.capabilities
    options = b" RETURN (SUBSCRIBED SPECIAL-USE)" if extended else b""
    found: dict[bytes, Folder] = {}
    pattern = quoted(prefix + b"*")
    listed = await connection.command("LIST", b'"" ' + pattern + options)
    listed += await connection.command("LIST", b'"" INBOX' + options)
    for one in listed:
        folder = _folder(one, prefix)
        if folder is not None:
            found.setdefault(folder.raw, folder)
    if not extended:
        for one in await connection.command("LSUB", b'"" ' + pattern):
            if one.name == "LSUB" and len(one.values) >= 3 and (raw := as_bytes(one.values[2])) in found:
                found[raw].subscribed = True
    return sorted(found.values(), key=lambda folder: (folder.name != INBOX, folder.name))


def target_of(folder: Folder, into: str, uses: Mapping[str, str]) -> str:
    """The mailbox for a folder: that of its special use here (`uses`: names by use), else of its name."""
    if into:
        return into if folder.name == INBOX else fitting(below(into, folder.name))
    return uses.get(folder.use) or fitting(folder.name)


def quoted(raw: bytes) -> bytes:
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def as_bytes(value: Value) -> bytes:
    """A name that looked like a number or NIL is one again."""
    if isinstance(value, bytes):
        return value
    return b"NIL" if value is None else str(value).encode()


async def _prefix(connection: ImapConnection) -> bytes:
    """What stands before every name of the user's own folders, `INBOX.` with some servers."""
    if "NAMESPACE" not in connection.capabilities:
        return b""
    try:
        responses = await connection.command("NAMESPACE")
    except Refused:
        return b""
    for one in responses:
        if one.name == "NAMESPACE" and one.values:
            match one.values[0]:
                case [[prefix, *_], *_]:
                    return as_bytes(prefix)
    return b""


def _folder(one: Untagged, prefix: bytes) -> Folder | None:
    if one.name != "LIST" or len(one.values) < 3 or not isinstance(one.values[0], list):
        return None
    attributes = {value.decode("ascii", "replace").lower() for value in one.values[0] if isinstance(value, bytes)}
    if attributes & _NO_FOLDER or attributes & _VIRTUAL:
        return None
    raw = as_bytes(one.values[2])
    if raw.upper() == b"INBOX":
        return Folder(raw, INBOX, subscribed=True)
    delimiter = one.values[1]
    name = _decoded(raw.removeprefix(prefix))
    if isinstance(delimiter, bytes) and delimiter and delimiter != b"/":
        name = name.replace("/", "_").replace(delimiter.decode("ascii", "replace"), DELIMITER)
    use = next((_USES[attribute] for attribute in sorted(attributes) if attribute in _USES), "")
    return Folder(raw, name, use, "\\subscribed" in attributes)


def _decoded(raw: bytes) -> str:
    try:
        return mailbox_name.decode(raw)
    except mailbox_name.BadName:
        return raw.decode("utf-8", "replace")
