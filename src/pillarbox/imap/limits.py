"""What a client may send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Limits:
    """Octets and counts."""

    append: int = 50 * 1024 * 1024  # a message; advertised as APPENDLIMIT
    save: int = 100_000  # messages that one COPY or APPEND stores; advertised as SAVELIMIT
    command: int = 64 * 1024  # a command without its literals
    literals: int = 1024 * 1024  # all literals of a command, APPEND's message apart
    command_before_login: int = 16 * 1024  # strangers get less: there may be many
    literals_before_login: int = 16 * 1024
    errors_before_login: int = 5  # BAD and refused logins, then BYE
    errors: int = 50  # BAD in a row once logged in, then BYE
