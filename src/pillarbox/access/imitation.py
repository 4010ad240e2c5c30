"""SCRAM keys for names that nobody has, so that a stranger cannot tell them from accounts.

The first answer of SCRAM holds the account's salt. For an unknown name it is made from the name and a secret of the
server, so it is the same each time and on every node, as an account's is; no proof fits the keys.
"""

from __future__ import annotations

import hmac
import os

from pillarbox.store.addresses import domain_key, local_key

from .passwords import SCRAM_ITERATIONS
from .sasl_scram import ScramKeys

SALT = 16  # octets, as `passwords.scram_keys` makes them


def imitation(secret: bytes, username: str) -> ScramKeys:
    """Keys like those of an account of this name, in any spelling that would find it."""
    local, at, domain = username.rpartition("@")
    name = f"{local_key(local)}@{domain_key(domain)}" if at else local_key(domain)
    salt = hmac.digest(secret, name.encode("utf-8", "surrogatepass"), "sha256")[:SALT]
    return ScramKeys(SCRAM_ITERATIONS, salt, os.urandom(32), os.urandom(32))
