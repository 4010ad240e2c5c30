"""How responses are written (RFC 9051 section 7): values, and whole untagged responses without `* ` and CRLF.

Everything returns octets for `ImapCore.untagged`. `utf8` is set once IMAP4rev2 is enabled: then names and quoted
strings carry UTF-8 (RFC 9051 section 5.1), before that names are modified UTF-7 and 8-bit values are literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from pillarbox.imap import mailbox_name
from pillarbox.imap.flags import NAMES
from pillarbox.imap.partial import positions
from pillarbox.imap.sequence import render_numbers

_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]{0,1000}\Z")  # any 7-bit but NUL, CR, LF; lines stay short
_QUOTABLE8 = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\xff]{0,1000}\Z")
_ATOMIC = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+\Z")
_ESCAPED = re.compile(rb'["\\]')

_VANISHED_LINE = 8000  # octets of UIDs in one VANISHED response; some clients read lines into fixed buffers


def string(value: bytes, utf8: bool = False) -> bytes:
    """Quoted when it can be, else a literal. Octets that are no UTF-8 are a literal in any case."""
    if _QUOTABLE.match(value) or (utf8 and _QUOTABLE8.match(value) and _is_utf8(value)):
        return b'"%b"' % (_ESCAPED.sub(rb"\\\g<0>", value) if b'"' in value or b"\\" in value else value)
    return literal(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def literal(value: bytes) -> bytes:
    """`{3}CRLFabc`."""
    return b"{%d}\r\n%b" % (len(value), value)


def literal8(value: bytes) -> bytes:
    """The value of BINARY: a literal, `~{3}` only when it holds a NUL (RFC 3516 section 4.2)."""
    return b"~" * (b"\0" in value) + literal(value)


def nstring(value: bytes | None, utf8: bool = False) -> bytes:
    """NIL for None."""
    return b"NIL" if value is None else string(value, utf8)


def astring(value: bytes, utf8: bool = False) -> bytes:
    """As an atom when it can be (`NIL` never), else a string."""
    if _ATOMIC.match(value) and value.upper() != b"NIL":
        return value
    return string(value, utf8)


@lru_cache(maxsize=4096)
def mailbox(name: str, utf8: bool = False) -> bytes:
    """A mailbox name as astring."""
    return astring(mailbox_name.encode(name, utf8), utf8)


def flags(keywords: Iterable[str] = ()) -> bytes:
    """The FLAGS response: system flags and the keywords in use."""
    return b"FLAGS (%b)" % b" ".join((*NAMES, *(keyword.encode("ascii", "replace") for keyword in keywords)))


def permanent_flags(keywords: Iterable[str] = (), *, read_only: bool = False, rights: str = "swt") -> str:
    """The code PERMANENTFLAGS; `\\*` says that new keywords can be made. `rights` of RFC 4314 section 4."""
    if read_only:
        return "PERMANENTFLAGS ()"
    needed = {b"\\Seen": "s", b"\\Deleted": "t"}
    words = [name.decode("ascii") for name in NAMES if needed.get(name, "w") in rights]
    if "w" in rights:
        words += [*keywords, "\\*"]
    return f"PERMANENTFLAGS ({' '.join(words)})"


def listing(
    attributes: Iterable[str],
    name: str,
    *,
    utf8: bool = False,
    verb: bytes = b"LIST",
    delimiter: str | None = mailbox_name.DELIMITER,
    child_info: Sequence[str] = (),
    old_name: str | None = None,
) -> bytes:
    """LIST or LSUB. `attributes` as in `\\HasChildren`; `child_info` e.g. ["SUBSCRIBED"] for CHILDINFO (RFC 5258
    section 3.5), `old_name` for OLDNAME (RFC 9051 section 6.3.9.7)."""
    between = b"NIL" if delimiter is None else b'"%b"' % delimiter.encode()
    line = b"%b (%b) %b %b" % (verb, " ".join(attributes).encode(), between, mailbox(name, utf8))
    extended = []
    if child_info:
        extended.append(b'"CHILDINFO" (%b)' % b" ".join(b'"%b"' % option.encode() for option in child_info))
    if old_name is not None:
        extended.append(b'"OLDNAME" (%b)' % mailbox(old_name, utf8))
    if extended:
        line += b" (%b)" % b" ".join(extended)
    return line


def status(name: str, items: Iterable[tuple[str, int | str]], utf8: bool = False) -> bytes:
    """STATUS with items in the order given: `STATUS INBOX (MESSAGES 3 UIDNEXT 4)`."""
    pairs = " ".join(f"{item} {value}" for item, value in items)
    return b"STATUS %b (%b)" % (mailbox(name, utf8), pairs.encode())


def search(numbers: Iterable[int], modseq: int | None = None) -> bytes:
    """The SEARCH response of RFC 3501, with MODSEQ of RFC 7162 section 3.1.5."""
    line = b"SEARCH" + b"".join(b" %d" % number for number in numbers)
    return line if modseq is None else line + b" (MODSEQ %d)" % modseq


def sort(numbers: Iterable[int], modseq: int | None = None) -> bytes:
    """The SORT response (RFC 5256 section 4), with MODSEQ as SEARCH has it."""
    return search(numbers, modseq).replace(b"SEARCH", b"SORT", 1)


def esearch(
    tag: bytes,
    uid: bool,
    numbers: Sequence[int],
    returns: Iterable[str],
    modseq: int | None = None,
    *,
    partial: tuple[int, int] | None = None,
    in_order: bool = False,
    source: bytes = b"",
    relevancy: Sequence[int] = (),
) -> bytes:
    """ESEARCH (RFC 9051 section 7.3.4): of MIN MAX ALL COUNT PARTIAL those in `returns`; SAVE writes nothing.

    `numbers` ascend, or with `in_order` are sorted by something else, which ALL and PARTIAL then keep (RFC 5267 section
    3). MIN, MAX and ALL are left out when nothing was found. `partial`: the range of PARTIAL. `source` goes behind the
    tag: where the messages are (RFC 7377). `relevancy`: one number a message, told if RELEVANCY asks (RFC 6203).
    """
    wanted = set(returns)
    parts = [b"ESEARCH (TAG %b%b)" % (string(tag), source)]
    if uid:
        parts.append(b"UID")
    if numbers:
        if "MIN" in wanted:
            parts.append(b"MIN %d" % numbers[0])
        if "MAX" in wanted:
            parts.append(b"MAX %d" % numbers[-1])
        if "ALL" in wanted:
            parts.append(b"ALL " + numbers_told(numbers, in_order=in_order))
    if "COUNT" in wanted:
        parts.append(b"COUNT %d" % len(numbers))
    if partial is not None and "PARTIAL" in wanted:
        shown = [numbers[at] for at in positions(partial, len(numbers))]
        told = numbers_told(shown, in_order=in_order) if shown else b"NIL"
        parts.append(b"PARTIAL (%d:%d %b)" % (*partial, told))
    if "RELEVANCY" in wanted and numbers:
        parts.append(b"RELEVANCY (%b)" % b" ".join(b"%d" % score for score in relevancy))
    if modseq is not None and numbers:
        parts.append(b"MODSEQ %d" % modseq)
    return b" ".join(parts)


def numbers_told(numbers: Sequence[int], *, in_order: bool) -> bytes:
    """Numbers as a set; those that do not ascend one by one, so that no range hides their order."""
    return b",".join(b"%d" % number for number in numbers) if in_order else render_numbers(numbers)


def vanished(uids: Sequence[int], *, earlier: bool = False) -> Iterator[bytes]:
    """VANISHED responses (RFC 7162 section 3.2.10) for ascending UIDs: several, when one line would be too long."""
    head = b"VANISHED (EARLIER) " if earlier else b"VANISHED "
    text = render_numbers(uids)
    start = 0
    while start < len(text):
        end = len(text)
        if end - start > _VANISHED_LINE:
            end = text.rfind(b",", start, start + _VANISHED_LINE)
        yield head + text[start:end]
        start = end + 1


def copyuid(uidvalidity: int, pairs: Sequence[tuple[int, int]]) -> str:
    """The code COPYUID (RFC 4315 section 3) for (source UID, new UID); both sets in one order."""
    ordered = sorted(pairs)
    sources = [source for source, _ in ordered]
    targets = [target for _, target in ordered]
    if all(left < right for left, right in pairwise(targets)):
        target_set = render_numbers(targets)
    else:
        target_set = b",".join(b"%d" % target for target in targets)
    return f"COPYUID {uidvalidity} {render_numbers(sources).decode()} {target_set.decode()}"


def appenduid(uidvalidity: int, uids: Sequence[int]) -> str:
    """The code APPENDUID (RFC 4315 section 3)."""
    return f"APPENDUID {uidvalidity} {render_numbers(uids).decode()}"


def namespace(
    personal: Sequence[str] | None = ("",), others: Sequence[str] | None = None, shared: Sequence[str] | None = None
) -> bytes:
    """NAMESPACE (RFC 2342 section 5): prefixes of each class, None for NIL."""
    classes = (_prefixes(personal), _prefixes(others), _prefixes(shared))
    return b"NAMESPACE %b %b %b" % classes


def _prefixes(prefixes: Sequence[str] | None) -> bytes:
    if not prefixes:
        return b"NIL"
    delimiter = mailbox_name.DELIMITER.encode()
    return b"(%b)" % b"".join(b'(%b "%b")' % (string(mailbox_name.encode(prefix)), delimiter) for prefix in prefixes)


def languages(tags: Sequence[str]) -> bytes:
    """The LANGUAGE response (RFC 5255 section 3.3)."""
    return b"LANGUAGE (" + b" ".join(astring(tag.encode()) for tag in tags) + b")"


def comparator(selected: str, matching: Sequence[str] = ()) -> bytes:
    """The COMPARATOR response (RFC 5255 section 4.8); what matched only if that is more than one."""
    line = b"COMPARATOR " + astring(selected.encode())
    return line + b" (%b)" % b" ".join(astring(one.encode()) for one in matching) if len(matching) > 1 else line


def identification(fields: dict[str, str]) -> bytes:
    """The ID response (RFC 2971 section 3.1)."""
    if not fields:
        return b"ID NIL"
    pairs = (b"%b %b" % (string(name.encode()), string(value.encode())) for name, value in fields.items())
    return b"ID (%b)" % b" ".join(pairs)
