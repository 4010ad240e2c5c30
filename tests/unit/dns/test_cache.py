"""The memory of answers: lifetimes, denials, failures, and its bound, against a model with an injected clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from pillarbox.dns.answer import Answer, Status
from pillarbox.dns.cache import FAILURE, LONGEST, LONGEST_DENIAL, AnswerCache, Key, lifetime, weight


def cache(limit: int = 100_000) -> tuple[AnswerCache, Clock]:
    clock = Clock(1000.0)
    return AnswerCache(limit, clock), clock


def test_an_answer_holds_for_its_lifetime_and_says_what_is_left() -> None:
    kept, clock = cache()
    key: Key = ("a.example", "A")
    assert kept.get(key) is None
    kept.put(key, Answer("ok", ("192.0.2.1",), 60, True, "a.example"))
    clock.now += 59
    found = kept.get(key)
    assert found is not None
    assert (found.records, found.ttl, found.secure) == (("192.0.2.1",), 1, True)
    clock.now += 1
    assert kept.get(key) is None
    assert kept.used == 0


def test_lifetimes_are_bounded_by_what_they_are_for() -> None:
    assert lifetime(Answer("ok", ("x",), 10**9)) == LONGEST
    assert lifetime(Answer("nxdomain", ttl=10**6)) == LONGEST_DENIAL
    assert lifetime(Answer("nodata", ttl=30)) == 30
    assert lifetime(Answer("temperror", ttl=900)) == lifetime(Answer("bogus")) == FAILURE
    kept, _ = cache()
    assert kept.put(("a", "A"), Answer("ok", ("x",), 10**9)).ttl == LONGEST


def test_what_may_not_be_kept_is_not() -> None:
    kept, _ = cache()
    kept.put(("a", "A"), Answer("ok", ("192.0.2.1",), 0))
    kept.put(("b", "A"), Answer("nxdomain", ttl=0))  # a denial without SOA (RFC 2308 section 5)
    assert len(kept) == 0


def test_a_later_answer_takes_the_place_of_an_earlier() -> None:
    kept, _ = cache()
    kept.put(("a", "A"), Answer("ok", ("192.0.2.1",), 60))
    kept.put(("a", "A"), Answer("ok", ("192.0.2.2",), 0))
    assert kept.get(("a", "A")) is None


def test_the_longest_unasked_go_first() -> None:
    size = weight(("a", "A"), Answer("ok", ("192.0.2.1",), 60))
    kept, _ = cache(3 * size)
    for name in "abc":
        kept.put((name, "A"), Answer("ok", ("192.0.2.1",), 60))
    assert kept.get(("a", "A"))
    kept.put(("d", "A"), Answer("ok", ("192.0.2.1",), 60))
    assert [bool(kept.get((name, "A"))) for name in "abcd"] == [True, False, True, True]


def test_an_answer_larger_than_the_cache_is_not_kept() -> None:
    kept, _ = cache(2000)
    kept.put(("a", "TXT"), Answer("ok", (b"x" * 5000,), 60))
    assert (len(kept), kept.used) == (0, 0)


STATUSES: st.SearchStrategy[Status] = st.sampled_from(["ok", "nxdomain", "nodata", "temperror", "bogus"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 9), STATUSES, st.integers(0, 40), st.integers(0, 900)),
        st.tuples(st.just("get"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(STEPS)
def test_never_too_old_never_too_much(steps: list[tuple[object, ...]]) -> None:
    kept, clock = cache(6000)
    model: dict[int, tuple[Answer, float]] = {}
    for step in steps:
        match step:
            case ("put", int(number), str(status), int(ttl), int(size)):
                answer = Answer(status, (b"x" * size,), ttl)  # type: ignore[arg-type]
                kept.put((str(number), "TXT"), answer)
                model[number] = answer, clock.now + lifetime(answer)
            case ("get", int(number)):
                found = kept.get((str(number), "TXT"))
                if found is not None:
                    answer, end = model[number]
                    assert found.records == answer.records
                    assert end - clock.now > 0
                    assert found.ttl == int(end - clock.now)
            case ("wait", int(seconds)):
                clock.now += seconds
        assert 0 <= kept.used <= 6000
        assert (kept.used == 0) == (len(kept) == 0)
