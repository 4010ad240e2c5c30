"""SEARCH keys evaluated over the session's columns, as far as these know the answer.

A set of messages is one big integer with an octet per message (1 in, 0 out), so that AND, OR and NOT over a hundred
thousand messages are single operations in C. What only the message itself can tell (header, body, the Date field)
becomes a `Predicate`, asked in a thread and only for the messages that the cheap keys leave over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress
from types import MappingProxyType
from typing import Protocol

from pillarbox.imap import search
from pillarbox.imap.comparator import DEFAULT, Comparator
from pillarbox.mime.header import LISTED, MAX_HEADER
from pillarbox.mime.words import holds, sought
from pillarbox.session.imap_selected import Selected
from pillarbox.store.search_index import Sought

DAY = 86400  # seconds
# Of what delivery puts on top the search index does not know: those fields of it that lists do not show.
ON_TOP = frozenset((b"received", b"delivered-to", b"list-owner"))
_SPARSE = 32  # with fewer than one of so many messages in a mask each is looked for


Key = Callable[[str], str]  # of a comparator


class Candidate(Protocol):
    """A message whose content can be asked for; each is read at most once, when first needed. Texts are told as a
    comparator's keys."""

    @property
    def index(self) -> int: ...
    def header(self, name: str) -> list[str]: ...
    def envelope(self, name: str) -> list[str]: ...
    def whole_header(self, key: Key) -> str: ...
    def body_text(self, key: Key) -> str: ...
    def header_words(self) -> str: ...
    def body_words(self) -> str: ...
    def sent_day(self) -> int | None: ...
    def email_id(self) -> str: ...
    def thread_id(self) -> str: ...


Test = Callable[[Candidate], bool]

NOTHING_READ, HEADER_READ, BODY_READ = range(3)


@dataclass(slots=True)
class Predicate:
    """A test of a message's content. `cost`: what it reads at most, one of NOTHING_READ, HEADER_READ, BODY_READ."""

    test: Test
    cost: int


@dataclass(slots=True)
class Plan:
    """The messages of `mask` for which all `predicates` hold."""

    mask: int
    predicates: list[Predicate] = field(default_factory=list)

    @property
    def cost(self) -> int:
        return max((p.cost for p in self.predicates), default=NOTHING_READ)


@dataclass(slots=True, frozen=True)
class Looked:
    """What the search index says of a text, summaries of a field, or the store of annotations: masks of the messages
    for which the key holds, and of those it does not know."""

    sure: int
    unknown: int


def plan(
    key: search.Key,
    selected: Selected,
    now: float = 0.0,
    looked: Mapping[Asked, Looked] = MappingProxyType({}),
    comparator: Comparator = DEFAULT,
) -> Plan:
    """What is to be done for a search program. The predicates of the result stand in the order of their cost.

    `now` (epoch seconds) is what OLDER and YOUNGER count from; `looked` is what the store has found already; texts are
    compared by `comparator`.
    """
    made = _Planner(selected, now, looked, comparator).plan(key)
    made.predicates.sort(key=lambda p: p.cost)
    return made


def indexes(mask: int, size: int) -> list[int]:
    """The indexes that are in a mask over `size` messages."""
    octets = mask.to_bytes(size, "little")
    if mask.bit_count() * _SPARSE > size:
        return list(compress(range(size), octets))
    found: list[int] = []
    at = octets.find(1)
    while at >= 0:
        found.append(at)
        at = octets.find(1, at + 1)
    return found


def work(key: search.Key, size: int) -> int:
    """How many values of columns a plan for so many messages looks at, at most."""
    match key:
        case search.And(keys=keys) | search.Or(keys=keys):
            return size + sum(work(one, size) for one in keys)
        case search.Not(key=one):
            return work(one, size)
    return size


Asked = Sought | search.Annotation | search.Header | search.Sent
"""What the store is asked for many messages at once."""


class _Planner:
    def __init__(
        self,
        selected: Selected,
        now: float,
        looked: Mapping[Asked, Looked],
        comparator: Comparator,
    ) -> None:
        self.comparator = comparator
        self.looked = looked
        self.selected = selected
        self.now = int(now)
        self.size = len(selected)
        self.ones = int.from_bytes(b"\1" * self.size, "little")
        self.by_keyword: dict[str, list[int]] | None = None  # lower-case name -> indexes of those that have it

    def plan(self, key: search.Key) -> Plan:
        match key:
            case search.And(keys=keys):
                return self._all_of(self.plan(one) for one in keys)
            case search.Or(keys=keys):
                return self._any_of([self.plan(one) for one in keys])
            case search.Not(key=one):
                return self._none_of(self.plan(one))
            case search.Header(name, text, True) if text:
                test = _envelope_test(name, text, self.comparator.key)
                return self._content(test, NOTHING_READ, self.looked.get(key))
            case search.Header(name, text):
                test = _header_test(name, text, self.comparator.key)
                return self._content(test, HEADER_READ, self.looked.get(key) or self._with_field(name))
            case search.Body(text) | search.Text(text):
                return self._text(text, header=isinstance(key, search.Text))
            case search.Sent(relation, day):
                return self._content(_sent_test(*span(relation, day, day + 1)), NOTHING_READ, self.looked.get(key))
            case search.EmailId(wanted):
                return self._content(lambda m: m.email_id() == wanted, NOTHING_READ)
            case search.ThreadId(wanted):
                return self._content(lambda m: m.thread_id() == wanted, NOTHING_READ)
            case _:
                return Plan(self._mask(key))

    def _content(self, test: Test, cost: int, looked: Looked | None = None) -> Plan:
        """What only messages can tell, but for those of which it is known."""
        if looked is None:
            return Plan(self.ones, [Predicate(test, cost)])
        if not looked.unknown:
            return Plan(looked.sure)
        sure = looked.sure.to_bytes(self.size, "little")
        return Plan(looked.sure | looked.unknown, [Predicate(lambda m: bool(sure[m.index]) or test(m), cost)])

    def _with_field(self, name: str) -> Looked | None:
        """Those to be asked for a field that few messages may have: the others do not hold its name. The index has as
        much of a header as is read of it for TEXT, so messages that may have more are asked."""
        wanted = name_of(name)
        named = self.looked.get(wanted) if wanted is not None else None
        if named is None:
            return None
        return Looked(0, named.sure | named.unknown | self._mask(search.Size(True, MAX_HEADER)))

    def _text(self, text: str, *, header: bool) -> Plan:
        """BODY and TEXT: by words (RFC 9051 section 6.4.4 leaves that to the server), by substring if it has none."""
        words = sought(text) if self.comparator.words else ""
        if not words:
            return self._content(_substring_test(text, self.comparator.key, header=header), BODY_READ)
        return self._content(_words_test(words, header=header), BODY_READ, self.looked.get(Sought(words, header)))

    def _mask(self, key: search.Key) -> int:
        selected, size = self.selected, self.size
        match key:
            case search.All():
                return self.ones
            case search.Flag(bit, present):
                table = bytes(bool(value & bit) == present for value in range(256))
                return int.from_bytes(selected.flags.tobytes().translate(table), "little")
            case search.Recent(present):
                recent = selected.recent()
                octets = b"\0" * (size - recent) + b"\1" * recent
                return self._turned(int.from_bytes(octets, "little"), present)
            case search.Keyword(name, present):
                return self._turned(self._with_keyword(name.lower()), present)
            case search.Size(larger, limit):
                test = limit.__lt__ if larger else limit.__gt__
                return int.from_bytes(bytes(map(test, selected.sizes)), "little")
            case search.ModSeq(value):
                return int.from_bytes(bytes(map(value.__le__, selected.modseqs)), "little")
            case search.Received(relation, day):
                start, end = span(relation, day * DAY, (day + 1) * DAY)
                return int.from_bytes(bytes([start <= date < end for date in selected.dates]), "little")
            case search.Within(older, seconds):
                limit = self.now - seconds
                test = limit.__ge__ if older else limit.__le__
                return int.from_bytes(bytes(map(test, selected.dates)), "little")
            case search.Saved(relation, day):
                start, end = span(relation, day * DAY, (day + 1) * DAY)
                return int.from_bytes(bytes([start <= date < end for date in selected.save_dates]), "little")
            case search.Annotation():
                return self.looked[key].sure
            case search.Numbers(sequence):
                return self._ranges(selected.pick(sequence, uid=False))
            case search.Uids(sequence):
                return self._ranges(selected.pick(sequence, uid=True))
        raise TypeError(f"no such search key: {key!r}")

    def _turned(self, mask: int, present: bool) -> int:
        return mask if present else mask ^ self.ones

    def _with_keyword(self, name: str) -> int:
        if self.by_keyword is None:
            self.by_keyword = self._keyword_index()
        octets = bytearray(self.size)
        for at in self.by_keyword.get(name, ()):
            octets[at] = 1
        return int.from_bytes(octets, "little")

    def _keyword_index(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for uid, words in self.selected.keywords.items():
            at = self.selected.index(uid)
            if at >= 0:
                for word in words:
                    found.setdefault(word.lower(), []).append(at)
        return found

    def _ranges(self, picks: list[range]) -> int:
        octets = bytearray(self.size)
        for pick in picks:
            octets[pick.start : pick.stop] = b"\1" * len(pick)
        return int.from_bytes(octets, "little")

    def _all_of(self, plans: Iterable[Plan]) -> Plan:
        made = Plan(self.ones)
        for one in plans:
            made.mask &= one.mask
            made.predicates += one.predicates
        return made

    def _any_of(self, plans: list[Plan]) -> Plan:
        made = Plan(0)
        for one in plans:
            made.mask |= one.mask
        if any(one.predicates for one in plans):
            tests = [self._test(one) for one in sorted(plans, key=lambda one: one.cost)]
            cost = max(one.cost for one in plans)
            made.predicates.append(Predicate(lambda m: any(test(m) for test in tests), cost))
        return made

    def _none_of(self, plan: Plan) -> Plan:
        if not plan.predicates:
            return Plan(plan.mask ^ self.ones)
        test = self._test(plan)
        return Plan(self.ones, [Predicate(lambda m: not test(m), plan.cost)])

    def _test(self, plan: Plan) -> Test:
        octets = plan.mask.to_bytes(self.size, "little")
        tests = [p.test for p in sorted(plan.predicates, key=lambda p: p.cost)]
        return lambda m: bool(octets[m.index]) and all(test(m) for test in tests)


def name_of(field: str) -> Sought | None:
    """What the search index is asked for the messages that may have a header field: the words of its name. None where
    others know better, or the index does not know."""
    words = sought(field)
    if not words or field.encode() in LISTED | ON_TOP:
        return None
    return Sought(words, header=True)


def span(relation: str, start: int, end: int) -> tuple[int, int]:
    """From (inclusive) and to (exclusive) which time it is BEFORE, ON or SINCE what begins and ends so."""
    if relation == "BEFORE":
        return -(1 << 62), start
    return (start, end) if relation == "ON" else (start, 1 << 62)


def _header_test(name: str, text: str, key: Key) -> Test:
    if not text:
        return lambda m: bool(m.header(name))  # the field exists, RFC 9051 section 6.4.4
    needle = key(text)
    return lambda m: any(needle in key(value) for value in m.header(name))


def _envelope_test(name: str, text: str, key: Key) -> Test:
    needle = key(text)
    return lambda m: any(needle in key(value) for value in m.envelope(name))


def _words_test(words: str, *, header: bool) -> Test:
    if header:
        return lambda m: holds(m.header_words(), words) or holds(m.body_words(), words)
    return lambda m: holds(m.body_words(), words)


def _substring_test(text: str, key: Key, *, header: bool) -> Test:
    needle = key(text)
    if header:
        return lambda m: needle in m.whole_header(key) or needle in m.body_text(key)
    return lambda m: needle in m.body_text(key)


def _sent_test(start: int, end: int) -> Test:
    def test(message: Candidate) -> bool:
        sent = message.sent_day()
        return sent is not None and start <= sent < end  # no Date field, nothing to compare

    return test
