"""Rewritten senders come back to who sent the message, and to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empty_store import put_empty_store
from pillarbox.flow.srs import BadReturn, Rewriter, is_rewritten, open_rewriter
from pillarbox.smtp.address import MAX_PATH, AddressError, parse_path
from pillarbox.store.opening import open_store

KEY = Rewriter(b"k" * 32)
NOW = 1_800_000_000.0
DAY = 86400

atext = st.text("abcXYZ019.!#$%&'*+-/=?^_`{|}~äß", min_size=1, max_size=30)
odd = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)
domains = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4})?(\.[a-z]{1,8}){1,3}", fullmatch=True)


def local_of(address: str) -> str:
    return parse_path(address, max_local=MAX_PATH).local


@st.composite
def senders(draw: st.DrawFn) -> str:
    local = draw(st.one_of(atext, odd))
    quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for written in (local, quoted):
        address = f"{written}@{draw(domains)}"
        try:
            return parse_path(address, max_local=MAX_PATH).address
        except AddressError:
            continue
    return "ada@example.org"


@given(senders(), st.integers(0, 21), st.floats(0, 4e9))
def test_a_rewritten_sender_leads_back(sender: str, days: int, now: float) -> None:
    rewritten = KEY.rewrite(sender, "our.example", now)
    assert parse_path(rewritten, max_local=MAX_PATH).domain == "our.example"
    assert is_rewritten(local_of(rewritten))
    assert KEY.reverse(local_of(rewritten), now + days * DAY) == sender


@given(senders(), st.integers(0, 21))
def test_a_chain_of_forwarders_leads_back(sender: str, days: int) -> None:
    second, third = Rewriter(b"2" * 32), Rewriter(b"3" * 32)
    one = KEY.rewrite(sender, "one.example", NOW)
    two = second.rewrite(one, "two.example", NOW)
    three = third.rewrite(two, "three.example", NOW)
    assert local_of(two).startswith("SRS1=")
    later = NOW + days * DAY
    assert third.reverse(local_of(three), later) == one  # who forwarded first, past the second
    assert second.reverse(local_of(two), later) == one
    assert KEY.reverse(local_of(one), later) == sender


@given(senders(), st.data())
def test_upper_and_lower_case_make_no_difference_to_the_hash(sender: str, data: st.DataObject) -> None:
    local = local_of(KEY.rewrite(sender, "our.example", NOW))
    changed = "".join(c.swapcase() if c.isascii() and data.draw(st.booleans()) else c for c in local)
    assert KEY.reverse(changed, NOW).lower() == sender.lower()


@given(st.text(max_size=60))
def test_any_text_is_reversed_or_refused(text: str) -> None:
    for local in (text, f"SRS0={text}", f"srs1={text}", f"SRS0=AAAAAA=AA={text}"):
        with pytest.raises(BadReturn):
            KEY.reverse(local, NOW)


def test_the_form() -> None:
    rewritten = KEY.rewrite("ada@example.org", "our.example", NOW)
    mark, day, domain, local = rewritten.removesuffix("@our.example").removeprefix("SRS0=").split("=")
    assert (len(mark), len(day), domain, local) == (6, 2, "example.org", "ada")
    second = Rewriter(b"2" * 32).rewrite(rewritten, "two.example", NOW)
    assert second.endswith(f"=our.example=={mark}={day}=example.org=ada@two.example")


def test_another_key_another_address_and_another_day_are_refused() -> None:
    local = local_of(KEY.rewrite("ada@example.org", "our.example", NOW))
    with pytest.raises(BadReturn, match="somebody else"):
        Rewriter(b"other" * 8).reverse(local, NOW)
    with pytest.raises(BadReturn, match="somebody else"):
        KEY.reverse(local.replace("=ada", "=eve"), NOW)
    mark, day, rest = local[5:11], local[12:14], local[14:]
    other = "AA" if day != "AA" else "AB"
    with pytest.raises(BadReturn, match="somebody else"):
        KEY.reverse(f"SRS0={mark}={other}{rest}", NOW)


def test_an_address_is_valid_for_21_days() -> None:
    local = local_of(KEY.rewrite("ada@example.org", "our.example", NOW))
    assert KEY.reverse(local, NOW + 21 * DAY) == "ada@example.org"
    assert KEY.reverse(local, NOW - DAY) == "ada@example.org"  # our clocks differ
    for days in (22, 500, 1022, -2):
        with pytest.raises(BadReturn, match="days old"):
            KEY.reverse(local, NOW + days * DAY)


@pytest.mark.parametrize(
    "sender", ["", "postmaster", "ada@our.example", "ada@OUR.example", "ada@[192.0.2.1]", "a" * 250 + "@x.example"]
)
def test_what_stays_as_it_is(sender: str) -> None:
    assert KEY.rewrite(sender, "our.example", NOW) == sender


def test_separators_of_the_published_scheme() -> None:
    theirs = "SRS0+abcd=XX=example.org=ada@first.example"
    ours = KEY.rewrite(theirs, "our.example", NOW)
    assert "=first.example=+abcd=XX=example.org=ada@" in ours
    assert KEY.reverse(local_of(ours), NOW) == theirs
    assert not is_rewritten("srs0")
    assert not is_rewritten("srsly=no")


async def test_the_key_of_a_store_is_made_at_first_use(tmp_path: Path) -> None:
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")
    first, second = await open_rewriter(store), await open_rewriter(store)
    rewritten = first.rewrite("ada@example.org", "our.example", NOW)
    assert second.reverse(local_of(rewritten), NOW) == "ada@example.org"
    await store.close()
