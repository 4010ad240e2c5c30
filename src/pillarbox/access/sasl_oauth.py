"""OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2: a token in the place of a password.

The tokens are ours (`store.tokens`). When one is not good the client gets a challenge that says why, answers it with
nothing of meaning, and only then hears that the exchange has failed (RFC 7628 section 3.2.3).
"""

from __future__ import annotations

import re

from .sasl import Failure, Outcome, Token, saslname, text_of

_GS2 = re.compile(r"([^,]*),(?:a=([^,]*))?,")
_BEARER = re.compile(r"(?i:Bearer) +([A-Za-z0-9._~+/-]+=*)")


class OAuthBearer:
    """gs2-header, then key=value pairs between octets 0x01; the one that counts is `auth=Bearer TOKEN`."""

    def step(self, response: bytes | None) -> Outcome:
        text = text_of(response, "an OAUTHBEARER message")
        if not isinstance(text, str):
            return text
        header = _GS2.match(text)
        if header is None or header[1] not in ("n", "y") or "\0" in text:
            return Failure("an OAUTHBEARER message begins with n, or y,")
        username = saslname(header[2] or "")
        if username is None:
            return Failure("the name in an OAUTHBEARER message is malformed")
        token = _token(text[header.end() :], leading=True)
        if token is None:
            return Failure("an OAUTHBEARER message holds auth=Bearer and a token")
        return Token(username, token, '{"status":"{}","schemes":"bearer","scope":"imap smtp"}')


class XOAuth2:
    """user=NAME, auth=Bearer TOKEN, each followed by 0x01, and one more 0x01."""

    def step(self, response: bytes | None) -> Outcome:
        text = text_of(response, "an XOAUTH2 message")
        if not isinstance(text, str):
            return text
        user, _, rest = text.partition("\x01")
        token = _token(rest, leading=False)
        if not user.startswith("user=") or "\0" in text or token is None:
            return Failure("an XOAUTH2 message holds user= and auth=Bearer with a token")
        return Token(user[5:], token, '{"status":"401","schemes":"bearer","scope":"imap smtp"}')


def _token(pairs: str, *, leading: bool) -> str | None:
    """The token in `key=value` pairs that end with an empty one."""
    if leading:
        if not pairs.startswith("\x01"):
            return None
        pairs = pairs[1:]
    if not pairs.endswith("\x01\x01"):
        return None
    for pair in pairs[:-2].split("\x01"):
        key, _, value = pair.partition("=")
        if key == "auth":
            bearer = _BEARER.fullmatch(value)
            return bearer[1] if bearer is not None else None
    return None
