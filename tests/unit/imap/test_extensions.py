"""The table of extensions is complete, and the capability line says what it says."""

import os
import re
from pathlib import Path

import pytest

from pillarbox.imap.document import page
from pillarbox.imap.extensions import EXTENSIONS, Offer, capabilities, markdown
from pillarbox.imap.rules import COMMANDS
from pillarbox.imap.state import State

CONTRACT = Path(os.environ.get("PILLARBOX_TEST_DATA", "/nonexistent")).parent / "contract" / "imap-extensions.md"

REGISTERED = (
    "9051 9208 2177 2342 2971 3348 3502 3516 3691 4314 4315 4467 4469 4731 4959 4978 5032 5161 5182 5255 5256 5256 "
    "5257 5258 5267 5464 5465 5466 5819 5957 6154 6203 6851 6855/9755 7162 7162 7377 7888 7889 8437 8438 8440 8474 "
    "8508 8514 8970 9394 9585 9586 9590 9698 9738 10022 2193 2221 5259 5524 5738 6785 "
)


def test_every_registered_extension_has_its_row():
    assert [row.rfc for row in EXTENSIONS][: len(REGISTERED.split())] == REGISTERED.split()


@pytest.mark.skipif(not CONTRACT.exists(), reason="PILLARBOX_TEST_DATA does not lead to contract/imap-extensions.md")
def test_every_row_of_the_list_is_there():
    rows = re.findall(r"^\| (\d[\d/]*) \| ([^|]+) \|", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 50
    assert [(row.rfc, row.name) for row in EXTENSIONS[: len(rows)]] == rows


def test_what_is_missing_says_why_and_is_not_advertised():
    for row in EXTENSIONS:
        assert row.have or row.reason, row
        assert row.have == (row.when != "not advertised"), row


def test_commands_of_missing_extensions_are_not_in_the_table_of_commands():
    for row in EXTENSIONS:
        assert not row.have or not row.commands, row
        assert not set(row.commands) & set(COMMANDS), row


def words(state: State, tls: bool, **offer) -> list[str]:
    return capabilities(state, tls, Offer(**offer), 1000, 2000).split()


def test_before_the_login():
    plain = words(State.NOT_AUTHENTICATED, False, starttls=True)
    assert plain[:2] == ["IMAP4rev1", "IMAP4rev2"]
    assert {"STARTTLS", "LOGINDISABLED", "LITERAL+", "SASL-IR"} <= set(plain)
    assert not any(word.startswith("AUTH=") for word in plain)
    over_tls = words(State.NOT_AUTHENTICATED, True, starttls=True)
    assert {"AUTH=PLAIN", "AUTH=LOGIN"} <= set(over_tls)
    assert not {"STARTTLS", "LOGINDISABLED", "QRESYNC"} & set(over_tls)
    assert "AUTH=PLAIN" in words(State.NOT_AUTHENTICATED, False, plaintext=True)


def test_after_the_login():
    after = words(State.SELECTED, True)
    assert "APPENDLIMIT=1000" in after
    assert "SASL-IR" not in after
    assert len(after) == len(set(after))
    have = {token for row in EXTENSIONS if row.have and row.when != "before login" for token in row.tokens}
    given = {"APPENDLIMIT=1000", "SAVELIMIT=2000"}
    assert set(after) == have - {"APPENDLIMIT=n", "SAVELIMIT=n"} | given | {"IMAP4rev1"}
    assert not any(word.startswith("MESSAGELIMIT") for word in after)  # one of the two, RFC 9738 section 3
    assert not {"LITERAL-", "CONVERT", "MAILBOX-REFERRALS"} & set(after)


def test_the_table_for_the_documentation():
    table = markdown().splitlines()
    assert len(table) == len(EXTENSIONS) + 2
    assert "| 5259 | CONVERT | CONVERT | **missing** | not advertised | the server converts no media |" in table
    assert all(line.count("|") == 7 for line in table)


def test_the_page_is_as_the_tables_say():
    written = Path(__file__).parents[3] / "docs" / "imap-extensions.md"
    assert written.read_text(encoding="utf-8") == page(), "run `make docs`"
