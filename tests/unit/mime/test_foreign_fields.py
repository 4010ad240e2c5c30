"""Single header fields nobody here wrote, with what another parser makes of them (mail-parser's tables)."""

from __future__ import annotations

import calendar
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pillarbox.mime.address import Address, parse_addresses
from pillarbox.mime.analysis import message_ids
from pillarbox.mime.content import parse_content_type
from pillarbox.mime.date import parse_date
from pillarbox.mime.encoded_word import decode_words
from pillarbox.mime.header import fields_of, text_of
from pillarbox.mime.parameters import text_of as parameter_text

ROOT = os.environ.get("PILLARBOX_TEST_DATA")
if not ROOT:
    pytest.skip("PILLARBOX_TEST_DATA is not set", allow_module_level=True)
TABLES = Path(ROOT) / "mime" / "mail-parser"


def table(name: str) -> list[Any]:
    cases = json.loads((TABLES / f"{name}.json").read_text())
    return [pytest.param(case["header"], case["expected"], id=str(i)) for i, case in enumerate(cases)]


def raw_value(header: str) -> bytes:
    return fields_of(b"x:" + header.encode())[b"x"]


def differs(header: str, differences: dict[str, str]) -> bool:
    return any(start in header for start in differences)


DATES = {
    "20 11 (some": "a month in digits",
    " 4 8 15 16 23 42": "a month in digits",
    "((invalid)": "comments that do not match are forgiven here when a date is left",
}


@pytest.mark.parametrize(("header", "expected"), table("date"))
def test_dates(header: str, expected: Any) -> None:
    wanted = None
    if isinstance(expected, dict) and "year" in expected:
        zone = (expected["tz_hour"] * 60 + expected["tz_minute"]) * (-1 if expected["tz_before_gmt"] else 1)
        fields = [expected[name] for name in ("year", "month", "day", "hour", "minute", "second")]
        wanted = (calendar.timegm((*fields,)) - zone * 60, zone)
    assert (parse_date(header.encode()) == wanted) is not differs(header, DATES)


IDS = {
    "<1234@local.machine.example>\n\n": "an empty line cannot be in a field: the scanner ends the header there",
    "local(blah)": "white space in an id goes",
    "   m ": "a word without @ and brackets is no id here",
}


@pytest.mark.parametrize(("header", "expected"), table("id"))
def test_message_ids(header: str, expected: Any) -> None:
    wanted = [] if not expected else [expected] if isinstance(expected, str) else expected
    assert (message_ids(header.encode()) == tuple(f"<{text}>" for text in wanted)) is not differs(header, IDS)


TEXTS = {
    "[SUSPECTED SPAM]=?": "no space is put before an encoded word that has none",
}


@pytest.mark.parametrize(("header", "expected"), table("unstructured"))
def test_texts(header: str, expected: str) -> None:
    # mail-parser makes runs of white space one space.
    got = re.sub(r"\s+", " ", text_of(raw_value(header)))
    assert (got == re.sub(r"\s+", " ", expected)) is not differs(header, TEXTS)


TYPES = {
    "application/pdf\n   filename*0*=iso-8859-1'": "a charset again in later sections is no charset (RFC 2231 4.1)",
    'name="=?iso-8859-1?B?4Q==?= =': "white space between encoded words is not shown (RFC 2047 6.2)",
    "test/encoded; key4": "more than three digits number no section; sections are joined by number, NUL is a space",
    "malicious/attempt": "names that RFC 2231 does not know stay as they are",
    "name=  \n": "an empty value is a value",
}


@pytest.mark.parametrize(("header", "expected"), table("content_type"))
def test_content_types(header: str, expected: Any) -> None:
    value = raw_value(header)
    media = parse_content_type(value)
    expected = expected or {}
    kind, subtype = expected.get("c_type"), expected.get("c_subtype")
    if not kind or not subtype or "/" in subtype or not (kind + subtype).isascii():
        assert media is None  # and the part is text/plain (RFC 2045 section 5.2)
        return
    assert media is not None
    assert media[:2] == (kind.encode(), subtype.encode())
    pairs = media[2]
    names = dict.fromkeys(name.rstrip(b"*") for name, _ in pairs)
    got = {name.decode(): parameter_text(pairs, name) for name in names}
    wanted = {name: text for name, text in expected.get("attributes") or [] if not name.endswith("-language")}
    assert (got == wanted) is not differs(header, TYPES)


ADDRESSES = {
    "the end of the group": "a comment alone is no address",
    "nobody(that I know)": "a comment alone is no address",
}


def shown(address: Address) -> tuple[str | None, str | None]:
    name, _, mailbox, host = address
    if host is None:
        return ("group", decode_words(mailbox) if mailbox is not None else None)
    whole = mailbox + b"@" + host if host and mailbox is not None else mailbox
    return (decode_words(name) if name else None, decode_words(whole or b"") or None)


def wanted_addresses(expected: Any) -> list[tuple[str | None, str | None]]:
    if not isinstance(expected, dict):
        return []
    if "List" in expected:
        return [(entry["name"], entry["address"]) for entry in expected["List"]]
    entries: list[tuple[str | None, str | None]] = []
    for group in expected["Group"]:
        members = [(entry["name"], entry["address"]) for entry in group["addresses"]]
        if group["name"] is None:
            entries += members
        else:
            entries += [("group", group["name"]), *members, ("group", None)]
    return entries


def plain(entry: tuple[str | None, str | None], comments: bool) -> tuple[str | None, str | None]:
    """Without what mail-parser does otherwise: it keeps comments in names, routes, spaces in domains, and `mailto:`."""
    name, address = entry
    if name == "group":
        return name, re.sub(r"\s*\(.*\)", "", address) if address else address
    if address is not None:
        address = re.sub(r"^@[^:]*:|^mailto:", "", re.sub(r"\s*\.\s*", ".", address))
    return None if comments else name, address


@pytest.mark.parametrize(("header", "expected"), table("address"))
def test_addresses(header: str, expected: Any) -> None:
    comments = "(" in header
    got = [plain(shown(address), comments) for address in parse_addresses(raw_value(header))]
    wanted = [plain(entry, comments) for entry in wanted_addresses(expected)]
    assert (got == wanted) is not differs(header, ADDRESSES)
