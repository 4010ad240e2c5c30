"""Address lists as RFC 5322 has them: what passes, what does not, and that all readers agree on what passes."""

from __future__ import annotations

import email.headerregistry
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.mime.address import parse_addresses
from pillarbox.mime.address_grammar import is_address_list

GOOD = [
    b"",
    b" ada@example.com\r\n",
    b" Ada L. <ada@example.com>\r\n",
    b'"Ada \\" [x]" <ada@example.com>',
    b"Ada<ada@example.com>",
    b"ada@[192.0.2.1], bob@[IPv6:::1]",
    b"Ada (a (nested\\)) one)\r\n\t<ada(x)@(y)example.com>",
    b"a . b @ c . d",
    b'"a b".c@d',
    b", ,a@b,,c@d,",
    b"Team: a@b, C <c@d>;, e@f",
    b"Nobody:;",
    b"<@a,@b:c@d>",
    b"=?utf-8?q?Ad=C3=A9?= <ada@example.com>",
    "Adé <é@exämple.com>".encode(),
    b"J\xf6rg <j@example.com>",
    b'""@example.com',
]
TWICE = [b"ada@example.com <ada@example.com>", b"ada@example.com\t<Ada@Example.com>"]
BAD = [
    b"[<boss@x>] <ada@y>",
    b"boss@x <ada@y>",
    b"<boss@x> <ada@y>",
    b"<ada@y> boss@x",
    b"<ada@y> (c) x",
    b"ada@y <>",
    b"<>",
    b"ada",
    b"ada@",
    b"@y",
    b"a b@y",
    b"ada@y.",
    b"ada@.y",
    b"ada..b@y",
    b".ada@y",
    b"ada.@y",
    b".Ada <ada@y>",
    b"ada@y@z",
    b"<boss@x,ada@y>",
    b"<ada@y",
    b"ada@y>",
    b'"ada@y',
    b"(ada@y",
    b"ada@y)",
    b"[ada]@y",
    b"Ada: <ada@y>",
    b"Ada: b: c@d;;",
    b"a@b;",
    b"a@b; c@d",
    b"a@[1] x",
    b"a@[[1]",
    b"A\x00 <ada@y>",
    b"A\x1b$B <ada@y>",
    b'"A\x07" <ada@y>',
    b"A \r\n<ada@y>",
    b"ada\\@x <ada@y>",
    b"a@b c@d",
    b"<,@r:ada@y>",
    b"<@r,:ada@y>",
]


@pytest.mark.parametrize("value", GOOD)
def test_what_the_grammar_has(value: bytes) -> None:
    assert is_address_list(value)
    assert is_address_list(b" " + value.strip() + b"\r\n")


@pytest.mark.parametrize("value", TWICE)
def test_an_address_may_be_its_own_name(value: bytes) -> None:
    assert is_address_list(value)
    assert is_address_list(b" " + value + b"\r\n")
    assert [(local.lower(), host.lower()) for _, _, local, host in parse_addresses(value)] == [(b"ada", b"example.com")]
    assert not is_address_list(value + b", bob@example.com")
    assert not is_address_list(value.replace(b"<", b"<x"))


@pytest.mark.parametrize("value", BAD)
def test_what_it_has_not(value: bytes) -> None:
    assert not is_address_list(value)
    assert not is_address_list(b"ada@example.com, " + value)
    assert not is_address_list(value + b", Ada <ada@example.com>")


WORDS = st.sampled_from([b"a", b"B1", b'"q <x@y>"', b'"\\""', "é".encode(), b"(c)", b"(x@y)"])
SPACE = st.sampled_from([b"", b" ", b"\r\n ", b"(c, <x@y>)"])
HOST = st.sampled_from([b"c", b"d.e", b"[1.2.3.4]", b"d (x) . e"])
LOCAL = st.sampled_from([b"a", b"a.b", b'"x y"'])
SPEC = st.builds(lambda local, space, host: local + space + b"@" + space + host, LOCAL, SPACE, HOST)
PHRASE = st.builds(lambda first, rest: b"N" + b" ".join([b"", first, *rest]), WORDS, st.lists(WORDS, max_size=3))
MAILBOX = st.one_of(
    SPEC.map(lambda spec: (spec, spec)),
    st.builds(
        lambda name, space, route, spec: (name + space + b"<" + route + spec + b">", spec),
        st.one_of(st.just(b""), PHRASE),
        SPACE,
        st.sampled_from([b"", b"@r:", b"@r,@s.t:"]),
        SPEC,
    ),
)


def bare(spec: bytes) -> tuple[bytes | None, bytes | None]:
    local, _, host = spec.replace(b"(c, <x@y>)", b"").replace(b"(x)", b"").replace(b"\r\n", b"").rpartition(b"@")
    return local.strip().strip(b'"'), host.replace(b" ", b"")


@given(st.lists(MAILBOX, min_size=1, max_size=4), SPACE)
def test_what_passes_has_the_addresses_that_are_read(mailboxes: list[tuple[bytes, bytes]], space: bytes) -> None:
    value = (space + b",").join(text for text, _ in mailboxes)
    assert is_address_list(value)
    found = [(local, host) for _, _, local, host in parse_addresses(value)]
    assert found == [bare(spec) for _, spec in mailboxes]


PIECES = st.sampled_from(
    [b"a", b" ", b".", b"@", b"<", b">", b",", b":", b";", b"[", b"]", b"(", b")", b'"', b"\\", b"x.y", b"\r\n "]
)


@given(st.lists(PIECES, max_size=14))
def test_pythons_reader_finds_the_same_in_what_passes(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    if not is_address_list(value) or b"[" in value or b":" in value or b"\r" in value or b"\\" in value:
        return
    ours = [(local, host) for _, _, local, host in parse_addresses(value)]
    assert None not in [host for _, host in ours]
    groups = email.headerregistry.AddressHeader.value_parser(value.decode()).mailboxes
    if not groups and len(ours) == 1 and value.count(b"@") == 2:  # an address that is its own name is none for Python
        return
    theirs = [(box.local_part.encode(), box.domain.encode()) for box in groups]
    assert ours == theirs


@pytest.mark.parametrize("piece", [b"(", b'"', b",", b"a ", b"a.", b"<", b"[", b"a:", b"a@b,", b"\\", b"@a,", b"(a)"])
def test_it_is_linear(piece: bytes) -> None:
    times = []
    for many in (2_000, 20_000):
        value = piece * many + b"\x00"
        began = time.process_time()
        assert not is_address_list(value)
        assert not is_address_list(b"x <" + piece * many)
        times.append(time.process_time() - began)
    assert times[1] < 0.5 + 40 * times[0]
