"""What lists of messages need at hand.

`blobs.listed` has the header fields that lists show (`mime.header.listed_fields`); NULL where they are too many, or
where an older program wrote the row.
"""

from __future__ import annotations

from collections.abc import Mapping


def up(words: Mapping[str, str]) -> list[str]:
    return ["ALTER TABLE blobs ADD COLUMN listed {blob}".format(**words)]


def down(words: Mapping[str, str]) -> list[str]:
    return ["ALTER TABLE blobs DROP COLUMN listed"]
