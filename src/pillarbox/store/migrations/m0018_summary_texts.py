"""What SEARCH looks through, packed beside summaries (`summary_texts`). Derived: what is here may be removed.

They go with their summary, also when the system's `sqlite3` deletes that, for which foreign keys are off.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = """CREATE TABLE summary_texts (
        summary_id {key} REFERENCES summaries (id) ON DELETE CASCADE,
        form TEXT NOT NULL,
        texts {blob} NOT NULL
    )"""


GONE = (
    "CREATE TRIGGER summary_texts_go AFTER DELETE ON summaries "
    "BEGIN DELETE FROM summary_texts WHERE summary_id = old.id; END"
)


def up(words: Mapping[str, str]) -> list[str]:
    return [_TABLE.format(**words), *([GONE] if words["blob"] == "BLOB" else [])]


def down(words: Mapping[str, str]) -> list[str]:
    return [
        *(["DROP TRIGGER IF EXISTS summary_texts_go"] if words["blob"] == "BLOB" else []),
        "DROP TABLE summary_texts",
    ]
