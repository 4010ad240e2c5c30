"""Texts go with their summary in every store: some that step 18 made, when it was new, lack its trigger.

Taking it back leaves the trigger, which belongs to step 18.
"""

from __future__ import annotations

from collections.abc import Mapping

from pillarbox.store.migrations.m0018_summary_texts import GONE


def up(words: Mapping[str, str]) -> list[str]:
    if words["blob"] != "BLOB":
        return []  # foreign keys are always on
    return [
        "DELETE FROM summary_texts WHERE summary_id NOT IN (SELECT id FROM summaries)",
        "DROP TRIGGER IF EXISTS summary_texts_go",
        GONE,
    ]


def down(words: Mapping[str, str]) -> list[str]:
    return []
