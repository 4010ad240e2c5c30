"""docs/rfcs.md: every row that says yes or partly names a test, and every named test exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pillarbox.imap.extensions import EXTENSIONS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "rfcs.md").read_text()


class Row(NamedTuple):
    rfcs: list[int]
    what: str
    here: str
    remarks: str
    tests: list[str]


def rows() -> Iterator[Row]:
    for line in PAGE.splitlines():
        if not line.startswith("| ") or line.startswith("| RFC |"):
            continue
        rfcs, what, here, remarks, tests = (cell.strip() for cell in line.strip("|").split("|"))
        yield Row([int(n) for n in re.findall(r"\d+", rfcs)], what, here, remarks, re.findall(r"`([^`]+)`", tests))


NAMED = sorted(set(re.findall(r"`([\w/]+\.(?:py|txt)::[^`]+)`", PAGE)))


def test_the_page_has_rows() -> None:
    assert len(list(rows())) > 90
    assert len(NAMED) > 60


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row.rfcs[0]}")
def test_a_row_says_what_is_there_and_shows_it(row: Row) -> None:
    assert row.here in ("yes", "partly", "no")
    if row.here == "no":
        assert not row.tests
    else:
        assert row.tests and set(row.tests) <= set(NAMED)
    if row.here == "partly":
        assert row.remarks, "what is missing?"


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    file, _, name = named.partition("::")
    lines = (ROOT / "tests" / file).read_text().splitlines()
    if file.endswith(".txt"):
        assert f"== {name}" in lines
    else:
        assert re.search(rf"^ *(async )?def {re.escape(name)}\(", "\n".join(lines), re.MULTILINE)


def test_no_rfc_has_two_rows() -> None:
    numbers = [number for row in rows() for number in row.rfcs]
    assert sorted(numbers) == sorted(set(numbers))


def test_it_agrees_with_the_table_of_imap_extensions() -> None:
    said = {number: row.here for row in rows() for number in row.rfcs}
    for extension in EXTENSIONS:
        for number in map(int, re.findall(r"\d+", str(extension.rfc))):
            if number in said and number not in (4616, 9051):
                assert (said[number] == "no") == (not extension.have), f"RFC {number}, {extension.name}"
