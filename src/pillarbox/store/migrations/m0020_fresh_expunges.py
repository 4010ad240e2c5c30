"""COPY, MOVE and EXPUNGE write what is theirs, and read and touch little else.

`expunged.fresh`: expunged of late. In the index by blob these stand apart, close together, until a job puts them among
all the others, where each is on a page of its own. Rows of an older program go there at once, as they did.

`messages.blob_id` is no foreign key any more: for every message of a COPY its blob's row was looked up, on pages that
nothing else of the command reads. Who makes a message has its blob in hand, and only what nobody refers to is freed.
"""

from __future__ import annotations

from collections.abc import Mapping

_BLOB = "blob_id {int} NOT NULL"
_REFERS = f"{_BLOB} REFERENCES blobs (id)"


def up(words: Mapping[str, str]) -> list[str]:
    return [
        "ALTER TABLE expunged ADD COLUMN fresh {int} NOT NULL DEFAULT 0".format(**words),
        *_instead("idx_expunged_blob", "idx_expunged_held", "fresh, blob_id"),
        *(
            _rewritten(_REFERS.format(**words), _BLOB.format(**words))
            if words["blob"] == "BLOB"
            else ["ALTER TABLE messages DROP CONSTRAINT messages_blob_id_fkey"]
        ),
    ]


def down(words: Mapping[str, str]) -> list[str]:
    return [
        *(
            _rewritten(_BLOB.format(**words), _REFERS.format(**words))
            if words["blob"] == "BLOB"
            else [
                "ALTER TABLE messages ADD CONSTRAINT messages_blob_id_fkey FOREIGN KEY (blob_id) REFERENCES blobs (id)"
            ]
        ),
        *_instead("idx_expunged_held", "idx_expunged_blob", "blob_id"),
        "ALTER TABLE expunged DROP COLUMN fresh",
    ]


def _instead(old: str, new: str, columns: str) -> list[str]:
    return [f"DROP INDEX {old}", f"CREATE INDEX {new} ON expunged ({columns}) WHERE blob_id IS NOT NULL"]


def _rewritten(old: str, new: str) -> list[str]:
    """The text of the table is changed, no row of it (https://www.sqlite.org/lang_altertable.html, section 7)."""
    return [
        "PRAGMA writable_schema=ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE type = 'table' AND name = 'messages'",
        "PRAGMA writable_schema=RESET",
    ]
