"""The data folder of `pillarbox try`: certificates, accounts, their passwords. Runs in a child that then ends.

So what it imports (cryptography, argon2, the store) takes no memory in the server.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from pillarbox.cli.accounts import ensure_account, on_store
from pillarbox.cli.try_certificates import ensure_certificates, write_private
from pillarbox.store.store import Store

USERNAMES = ("ada@example.test", "bob@example.test")
ACCOUNTS_FILE = "accounts.json"  # mode 0600


def set_up(folder: Path) -> list[dict[str, str]]:
    """Make what is missing and return the accounts, `{"username", "password"}` each. Raises OSError, StoreError."""
    ensure_certificates(folder)
    accounts = _accounts(folder)
    on_store(folder / "smtp.db", lambda store: _ensure_all(store, accounts))
    return accounts


async def _ensure_all(store: Store, accounts: list[dict[str, str]]) -> None:
    for account in accounts:
        await ensure_account(store, account["username"], account["password"])


def _accounts(folder: Path) -> list[dict[str, str]]:
    """The accounts of this folder, with passwords made at its first use."""
    path = folder / ACCOUNTS_FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        accounts = [{"username": name, "password": secrets.token_hex(10)} for name in USERNAMES]
        write_private(path, json.dumps(accounts, indent=1).encode() + b"\n")
        return accounts
    os.chmod(path, 0o600)
    found: list[dict[str, str]] = json.loads(text)
    return found
