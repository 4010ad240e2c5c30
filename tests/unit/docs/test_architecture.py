"""docs/architecture.md names rooms and files that exist, and all rooms."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PLACES = ("src/pillarbox", "tests", "docs")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(?:tests/)?([\w/*]+\.py)`", TEXT))))
def test_a_file_that_is_named_exists(name):
    assert any(list((ROOT / place).glob(f"**/{name}")) for place in PLACES), f"there is no {name}"


def test_the_table_of_rooms_has_all_of_them():
    table = TEXT.partition("| room |")[2].partition("\n\n")[0]
    rooms = {path.parent.name for path in (ROOT / "src/pillarbox").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == rooms
