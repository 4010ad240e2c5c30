"""The commands about mailboxes: SELECT, CREATE, LIST, STATUS and their kin (RFC 9051 section 6.3)."""

from __future__ import annotations

import re

from pillarbox.imap import metadata_grammar
from pillarbox.imap.commands import Create, List, Mailbox, QResync, Rename, Select, Status
from pillarbox.imap.mailbox_name import DELIMITER
from pillarbox.imap.sequence import MAX_NUMBER
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused

MAX_PATTERNS = 100  # of one LIST

STATUS_ITEMS = frozenset(
    {
        "MESSAGES",
        "RECENT",  # RFC 3501 section 6.3.10
        "UIDNEXT",
        "UIDVALIDITY",
        "UNSEEN",
        "SIZE",  # RFC 8438
        "DELETED",  # RFC 9051 section 6.3.11
        "DELETED-STORAGE",  # RFC 9208 section 4.1.4
        "HIGHESTMODSEQ",  # RFC 7162 section 3.1.7
        "APPENDLIMIT",  # RFC 7889 section 4
        "MAILBOXID",  # RFC 8474 section 4.3
    }
)
SELECT_OPTIONS = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})  # RFC 5258 section 3, RFC 6154
RETURN_OPTIONS = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "MYRIGHTS"})  # and STATUS, RFC 5819
SPECIAL_USES = {  # RFC 6154 section 2, RFC 8457; \All and \Flagged are views that no mailbox here can be
    use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash", "\\Important")
}
_OTHER_USES = frozenset({"\\all", "\\flagged"})

_USE = re.compile(rb"\\[A-Za-z-]{1,40}")


def select(cursor: Cursor) -> Select:
    """SELECT with CONDSTORE and QRESYNC (RFC 7162 section 7)."""
    try:
        args = Select(cursor.mailbox())
    except Refused as error:  # NO would mean that no mailbox is selected any more, RFC 9051 section 6.3.2
        raise BadSyntax(str(error), error.code) from None
    if cursor.skip(b" "):

        def parameter(cursor: Cursor) -> None:
            name = cursor.word("a SELECT parameter")
            if name == "CONDSTORE":
                args.condstore = True
            elif name == "QRESYNC":
                if not cursor.qresync:
                    raise BadSyntax("QRESYNC needs ENABLE QRESYNC first, RFC 7162 section 3.2.5")
                cursor.space()
                args.qresync = _qresync(cursor)
                args.condstore = True
            elif name == "ANNOTATE":
                args.annotate = True  # RFC 5257 section 4.2
            else:
                raise BadSyntax(f"there is no SELECT parameter {name[:40]}")

        cursor.parenthesized(parameter, 10, "SELECT parameters")
    cursor.end()
    return args


def examine(cursor: Cursor) -> Select:
    args = select(cursor)
    args.read_only = True
    return args


def _qresync(cursor: Cursor) -> QResync:
    cursor.expect(b"(", "( after QRESYNC")
    uidvalidity = cursor.number(MAX_NUMBER, "UIDVALIDITY")
    cursor.space()
    args = QResync(uidvalidity, cursor.number(name="a mod-sequence"))
    if cursor.skip(b" "):
        if not cursor.peek(b"("):
            args.known_uids = cursor.known_set()
        if args.known_uids is None or cursor.skip(b" "):
            if "UIDONLY" in cursor.enabled:
                raise BadSyntax("message numbers are not used once UIDONLY is enabled", "UIDREQUIRED")
            cursor.expect(b"(", "known message numbers and UIDs in parentheses")
            numbers = cursor.known_set()
            cursor.space()
            args.matches = (numbers, cursor.known_set())
            cursor.expect(b")", ")")
    cursor.expect(b")", ")")
    return args


def one_mailbox(cursor: Cursor) -> Mailbox:
    """DELETE, SUBSCRIBE, UNSUBSCRIBE."""
    args = Mailbox(cursor.mailbox())
    cursor.end()
    return args


def create(cursor: Cursor) -> Create:
    """CREATE; a trailing delimiter only says that names below will follow (RFC 9051 section 6.3.4)."""
    name = cursor.mailbox()
    uses: list[str] = []
    if cursor.skip(b" "):
        cursor.expect(b"(", "(USE (...))")
        if not cursor.keyword(b"USE "):
            cursor.fail("USE")
        uses = cursor.parenthesized(_special_use, 10, "special uses")
        cursor.expect(b")", ")")
    cursor.end()
    if len(name) > 1:
        name = name.removesuffix(DELIMITER)
    return Create(name, tuple(dict.fromkeys(uses)))


def _special_use(cursor: Cursor) -> str:
    found = _USE.match(cursor.text, cursor.at)
    if found is None:
        cursor.fail("a special use like \\Sent")
    cursor.at = found.end()
    use = found[0].decode("ascii").lower()
    if use in _OTHER_USES or use not in SPECIAL_USES:
        raise Refused("no mailbox can have this special use here", "USEATTR")  # RFC 6154 section 3
    return SPECIAL_USES[use]


def rename(cursor: Cursor) -> Rename:
    name = cursor.mailbox()
    cursor.space()
    target = cursor.mailbox()
    cursor.end()
    return Rename(name, target)


def listing(cursor: Cursor) -> List:
    """LIST, RFC 9051 section 6.3.9: selection options, several patterns, return options."""
    select: list[str] = []
    extended = False
    if cursor.peek(b"("):
        extended = True
        select = cursor.parenthesized(_select_option, 10, "selection options")
        cursor.space()
        if "RECURSIVEMATCH" in select and not {"SUBSCRIBED", "SPECIAL-USE"} & set(select):
            raise BadSyntax("RECURSIVEMATCH needs an option to match, RFC 5258 section 3.1")
    reference = cursor.mailbox()
    cursor.space()
    if cursor.peek(b"("):
        extended = True
        patterns = cursor.parenthesized(Cursor.pattern, MAX_PATTERNS, "patterns")
        if not patterns:
            cursor.fail("a pattern")
    else:
        patterns = [cursor.pattern()]
    args = List(reference, tuple(patterns), frozenset(select), extended=extended)
    if cursor.skip(b" "):
        args.extended = True
        if not cursor.keyword(b"RETURN "):
            cursor.fail("RETURN")
        _returns(cursor, args)
    cursor.end()
    return args


def _select_option(cursor: Cursor) -> str:
    option = cursor.word("a selection option")
    if option not in SELECT_OPTIONS:
        raise BadSyntax(f"there is no selection option {option[:40]}")
    return option


def _returns(cursor: Cursor, args: List) -> None:
    def option(cursor: Cursor) -> str:
        name = cursor.word("a return option")
        if name == "STATUS":
            cursor.space()
            args.status = _status_items(cursor)
        elif name == "METADATA":
            cursor.space()
            args.metadata = metadata_grammar.entries(cursor)
        elif name not in RETURN_OPTIONS:
            raise BadSyntax(f"there is no return option {name[:40]}")
        return name

    args.returns = frozenset(cursor.parenthesized(option, 20, "return options")) - {"STATUS", "METADATA"}


def lsub(cursor: Cursor) -> List:
    """LSUB, RFC 3501 section 6.3.9."""
    reference = cursor.mailbox()
    cursor.space()
    args = List(reference, (cursor.pattern(),))
    cursor.end()
    return args


def status(cursor: Cursor) -> Status:
    """STATUS, RFC 9051 section 6.3.11."""
    mailbox = cursor.mailbox()
    cursor.space()
    args = Status(mailbox, _status_items(cursor))
    cursor.end()
    return args


def _status_items(cursor: Cursor) -> tuple[str, ...]:
    items = cursor.parenthesized(_status_item, 50, "STATUS items")
    if not items:
        cursor.fail("a STATUS item")
    return tuple(dict.fromkeys(items))


def _status_item(cursor: Cursor) -> str:
    item = cursor.word("a STATUS item")
    if item not in STATUS_ITEMS:
        raise BadSyntax(f"there is no STATUS item {item[:40]}")
    return item
