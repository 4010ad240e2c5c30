"""What a parsed command carries: one dataclass a command, no bytes of the wire left in them.

Mailbox names are text (modified UTF-7 is undone, `INBOX` in any case is `"INBOX"`), flags are bits (`flags.SEEN`...)
and keywords, dates are seconds since 1970 UTC. Commands without arguments have `args=None`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pillarbox.imap.annotation import AnnotationChange
from pillarbox.imap.comparator import DEFAULT, Comparator
from pillarbox.imap.fetch import FetchItem
from pillarbox.imap.mailbox_filter import MailboxFilter
from pillarbox.imap.search import Key
from pillarbox.imap.sequence import SequenceSet
from pillarbox.imap.sort import Criterion


@dataclass(slots=True)
class Id:
    """ID, RFC 2971: what the client says about itself; empty for `ID NIL`."""

    fields: dict[str, str | None]


@dataclass(slots=True)
class Enable:
    """ENABLE, RFC 5161: upper-case names as asked for; unknown ones are ignored by the answer."""

    names: tuple[str, ...]


@dataclass(slots=True)
class Languages:
    """LANGUAGE, RFC 5255: the ranges the client asks for, the best first; nothing to be told which there are."""

    ranges: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Comparators:
    """COMPARATOR, RFC 5255: what the client asks for, the best first; nothing to be told which one is active."""

    orders: tuple[str, ...]


@dataclass(slots=True)
class Login:
    """LOGIN, RFC 9051 section 6.2.3."""

    username: str
    password: str = field(repr=False)


@dataclass(slots=True)
class QResync:
    """The QRESYNC parameter of SELECT, RFC 7162 section 3.2.5.

    `known_uids` is None when the client did not limit them; `matches` is (message numbers, their UIDs) of section
    3.2.5.2. No `*` in any of them.
    """

    uidvalidity: int
    modseq: int
    known_uids: SequenceSet | None = None
    matches: tuple[SequenceSet, SequenceSet] | None = None


@dataclass(slots=True)
class Select:
    """SELECT, and EXAMINE with `read_only`; `condstore` is set by QRESYNC too. `annotate`: changes of annotations are
    to be told (RFC 5257)."""

    mailbox: str
    read_only: bool = False
    condstore: bool = False
    qresync: QResync | None = None
    annotate: bool = False


@dataclass(slots=True)
class Mailbox:
    """DELETE, SUBSCRIBE, UNSUBSCRIBE: a command about one mailbox."""

    mailbox: str


@dataclass(slots=True)
class Create:
    """CREATE; `special_use` as in `\\Sent`, in the spelling of RFC 6154, at most one that the table knows each."""

    mailbox: str
    special_use: tuple[str, ...] = ()


@dataclass(slots=True)
class Rename:
    """RENAME."""

    mailbox: str
    target: str


@dataclass(slots=True)
class List:
    """LIST, also extended (RFC 5258, 5819, 6154), and LSUB (then only `reference` and one pattern).

    `select` holds of SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE, `returns` of SUBSCRIBED CHILDREN SPECIAL-USE
    MYRIGHTS;
    `status` is what STATUS items to return, `metadata` what entries (RFC 9590), or empty.
    `extended` is set when any of the extended syntax was used.
    Patterns are to be joined to the reference by `list_pattern.ListMatcher(reference, patterns)`.
    """

    reference: str
    patterns: tuple[str, ...]
    select: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False
    metadata: tuple[str, ...] = ()


@dataclass(slots=True)
class Status:
    """STATUS: upper-case items: MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE DELETED DELETED-STORAGE
    HIGHESTMODSEQ APPENDLIMIT MAILBOXID."""

    mailbox: str
    items: tuple[str, ...]


@dataclass(slots=True)
class Append:
    """One message of APPEND or REPLACE up to its literal; `date` is seconds since 1970 UTC or None; `binary` when it
    came as literal8.

    With `catenate` it is put together of what follows, and `size` is 0 (RFC 4469). `replaces` names the message of
    REPLACE (RFC 8508) by its number, or with `uid` by its UID. `annotations` come with it (RFC 5257 section 4.7).
    """

    mailbox: str
    flags: int
    keywords: tuple[str, ...]
    date: int | None
    size: int
    binary: bool = False
    catenate: bool = False
    replaces: SequenceSet | None = None
    uid: bool = False
    annotations: tuple[AnnotationChange, ...] = ()


@dataclass(slots=True)
class Search:
    """SEARCH, SORT, THREAD, and with UID before them.

    `returns` is None without RETURN (answer with `* SEARCH`, unless IMAP4rev2 is enabled: then ESEARCH as for `ALL`);
    else of MIN MAX ALL COUNT SAVE PARTIAL, never empty (`RETURN ()` is ALL, RFC 4731 section 3.1).
    `sort` are the criteria of SORT, `thread` the algorithm of THREAD, `partial` the range of PARTIAL (RFC 9394), and
    `update` asks that changes of the result be told (RFC 5267 section 4.3), with `update_items` of new messages in it.
    `filters` are the names that FILTER keys of it have (RFC 5466), in lower case. `comparator` is the one that was
    active when the command was carried out.
    `modseq` says that a MODSEQ key is in it (then the answer carries MODSEQ, RFC 7162 section 3.1.5). With `refused`
    (text and code for NO) it asked for SAVE but cannot be done: there is no key, and the saved result is to be emptied.
    """

    key: Key
    returns: frozenset[str] | None = None
    charset: str = "UTF-8"
    modseq: bool = False
    refused: tuple[str, str | None] | None = None
    sort: tuple[Criterion, ...] = ()
    thread: str = ""
    partial: tuple[int, int] | None = None
    update: bool = False
    filters: tuple[str, ...] = ()
    update_items: tuple[FetchItem, ...] = ()
    comparator: Comparator = DEFAULT


@dataclass(slots=True)
class MultiSearch:
    """The command ESEARCH (RFC 7377): `search` in the mailboxes of all filters; without any in the selected one."""

    filters: tuple[MailboxFilter, ...]
    search: Search


@dataclass(slots=True, frozen=True)
class EventGroup:
    """Events of some mailboxes (RFC 5465 section 8): names as in `notify_grammar.EVENTS`, none of them for NONE.

    `items`: what is fetched of a new message in the selected mailbox.
    """

    mailboxes: MailboxFilter
    events: frozenset[str]
    items: tuple[FetchItem, ...] = ()


@dataclass(slots=True)
class Notify:
    """NOTIFY (RFC 5465): SET with its groups, or NONE without any; `status`: STATUS responses are wanted at once."""

    groups: tuple[EventGroup, ...] = ()
    status: bool = False


@dataclass(slots=True)
class UidBatches:
    """UIDBATCHES (RFC 10022): the size of a batch; `batches` first and last of those that are wanted, None for all."""

    size: int
    batches: tuple[int, int] | None = None


@dataclass(slots=True)
class CancelUpdate:
    """CANCELUPDATE (RFC 5267 section 4.4): tags of searches whose changes are not to be told any more."""

    tags: tuple[bytes, ...]


@dataclass(slots=True)
class Fetch:
    """FETCH and UID FETCH. UID FETCH always has UID among the items; CHANGEDSINCE adds MODSEQ.

    `partial`: of the messages that are left only these, counted as written (RFC 9394).
    """

    sequence: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None = None
    vanished: bool = False
    partial: tuple[int, int] | None = None


@dataclass(slots=True)
class Store:
    """STORE and UID STORE; `operation` is "set", "add" or "remove"."""

    sequence: SequenceSet
    operation: str
    flags: int
    keywords: tuple[str, ...]
    silent: bool = False
    unchanged_since: int | None = None


@dataclass(slots=True)
class Annotate:
    """STORE and UID STORE with ANNOTATION (RFC 5257)."""

    sequence: SequenceSet
    changes: tuple[AnnotationChange, ...]
    unchanged_since: int | None = None


@dataclass(slots=True)
class Copy:
    """COPY, UID COPY, MOVE and UID MOVE."""

    sequence: SequenceSet
    mailbox: str


@dataclass(slots=True)
class UrlAuth:
    """GENURLAUTH and URLFETCH, RFC 4467: URLs as the client wrote them.

    `wanted`: if any of them has parameters (RFC 5524), those of each, or None: of BODY BINARY BODYPARTSTRUCTURE.
    """

    urls: tuple[str, ...]
    wanted: tuple[frozenset[str] | None, ...] = ()


@dataclass(slots=True)
class GetMetadata:
    """GETMETADATA (RFC 5464): lower-case entries; `depth` 0, 1 or -1 for any; the mailbox "" is the server."""

    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int = 0


@dataclass(slots=True)
class SetMetadata:
    """SETMETADATA: lower-case entries and their values, None to remove one."""

    mailbox: str
    entries: tuple[tuple[str, bytes | None], ...]


@dataclass(slots=True)
class Acl:
    """SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314). `operation` is = + or - for SETACL."""

    mailbox: str
    identifier: str = ""
    operation: str = ""
    rights: str = ""


@dataclass(slots=True)
class Quota:
    """GETQUOTA, and SETQUOTA with pairs of an upper-case resource and its limit (RFC 9208)."""

    root: str
    limits: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Expunge:
    """UID EXPUNGE, RFC 4315; EXPUNGE itself has no arguments."""

    sequence: SequenceSet


Args = (
    UrlAuth
    | Id
    | Enable
    | Comparators
    | Languages
    | Login
    | Select
    | Mailbox
    | Create
    | Rename
    | List
    | Status
    | Search
    | MultiSearch
    | Notify
    | UidBatches
    | CancelUpdate
    | Fetch
    | Store
    | Annotate
    | Copy
    | Expunge
    | Quota
    | Acl
    | GetMetadata
    | SetMetadata
)
