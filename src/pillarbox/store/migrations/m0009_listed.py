"""What SELECT and lists of messages need at hand.

`blobs.listed` has the header fields that lists show (`mime.header.listed_fields`); NULL where they are too many, or
where an older program wrote the row. The index has only messages with keywords, most have none: which keywords a
mailbox has is told by a few steps in it.
"""

from __future__ import annotations

from collections.abc import Mapping


def up(words: Mapping[str, str]) -> list[str]:
    return [
        "ALTER TABLE blobs ADD COLUMN listed {blob}".format(**words),
        "CREATE INDEX idx_messages_keywords ON messages (mailbox_id, keywords) WHERE keywords <> ''",
    ]


def down(words: Mapping[str, str]) -> list[str]:
    return ["DROP INDEX idx_messages_keywords", "ALTER TABLE blobs DROP COLUMN listed"]
