"""What `--db` means, for the commands of every program. Imports nothing large: most of them must answer at once."""

from __future__ import annotations

from pillarbox.cli.flags import UsageError
from pillarbox.config.locate import store_place
from pillarbox.config.postgres_url import PostgresUrl, StoreName, store_name


def store_of(db: str | None) -> StoreName:
    """The store meant; None: the server's. Raises FileError and UsageError."""
    if db is None:
        return store_place().store
    name = store_name(db)
    if isinstance(name, PostgresUrl) and name.has_password:
        raise UsageError(
            "Error: everybody sees a password on a command line: set SMTP_DATABASE_URL, or use a .pgpass file"
        )
    return name
