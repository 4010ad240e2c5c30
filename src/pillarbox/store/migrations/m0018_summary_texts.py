"""What SEARCH looks through, packed beside summaries (`summary_texts`). Derived: what is here may be removed."""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """CREATE TABLE summary_texts (
        summary_id {key} REFERENCES summaries (id) ON DELETE CASCADE,
        form TEXT NOT NULL,
        texts {blob} NOT NULL
    )"""


def up(words: Mapping[str, str]) -> list[str]:
    return [_TABLE.format(**words)]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP TABLE summary_texts"]
