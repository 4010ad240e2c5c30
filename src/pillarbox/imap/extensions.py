"""Every IMAP extension that is registered, and whether Pillarbox has it: the one source of capabilities and docs.

The capability line, the answer to a command that belongs to a missing extension, and the table in the documentation
are computed from `EXTENSIONS`; nothing else says what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pillarbox.imap.state import State

ALWAYS = "always"
AFTER_LOGIN = "after login"
BEFORE_LOGIN = "before login"
NOT_ADVERTISED = "not advertised"

_LATER = "not written yet"


@dataclass(slots=True, frozen=True)
class Extension:
    """One registered extension.

    `tokens`: capability names as clients see them (`=n` stands for a number filled in); `when`: in which states they
    are sent; `reason`: why it is missing, or what to know about it; `commands`: those that exist only by it.
    """

    rfc: str
    name: str
    tokens: tuple[str, ...]
    have: bool
    when: str = AFTER_LOGIN
    reason: str = ""
    commands: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Offer:
    """What this listener offers: STARTTLS, SASL mechanisms, and whether passwords may go without TLS.

    `unauthenticate`: RFC 8437 section 8 wants a way to turn it off.
    """

    starttls: bool = False
    auth: tuple[str, ...] = ("PLAIN", "LOGIN")
    plaintext: bool = False
    unauthenticate: bool = True


def _missing(rfc: str, name: str, tokens: str, reason: str = _LATER, commands: str = "") -> Extension:
    return Extension(rfc, name, tuple(tokens.split()), False, NOT_ADVERTISED, reason, tuple(commands.split(",")))


def _have(rfc: str, name: str, tokens: str, when: str = AFTER_LOGIN, reason: str = "") -> Extension:
    return Extension(rfc, name, tuple(tokens.split()), True, when, reason)


EXTENSIONS: tuple[Extension, ...] = (
    _have("9051", "IMAP4rev2", "IMAP4rev2", ALWAYS),
    _have(
        "9208",
        "QUOTA",
        "QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTA=RES-MAILBOX QUOTASET",
        reason="quota roots are user/NAME and domain/NAME; an administrator sets them",
    ),
    _have("2177", "IDLE", "IDLE"),
    _have("2342", "NAMESPACE", "NAMESPACE"),
    _have("2971", "ID", "ID", ALWAYS),
    _have("3348", "CHILDREN", "CHILDREN"),
    _have("3502", "MULTIAPPEND", "MULTIAPPEND", reason="as many messages in one command as SAVELIMIT says"),
    _have("3516", "BINARY", "BINARY", reason="parts with a NUL are kept in base64"),
    _have("3691", "UNSELECT", "UNSELECT"),
    _have("4314", "ACL", "ACL RIGHTS=kxten", reason="what is shared is below Other Users/; identifiers are usernames"),
    _have("4315", "UIDPLUS", "UIDPLUS"),
    _have("4467", "URLAUTH", "URLAUTH", reason="no submission server has a right to submit+ URLs"),
    _have("4469", "CATENATE", "CATENATE"),
    _have("4731", "ESEARCH", "ESEARCH"),
    _have("4959", "SASL-IR", "SASL-IR", BEFORE_LOGIN),
    _have("4978", "COMPRESS", "COMPRESS=DEFLATE"),
    _have("5032", "WITHIN", "WITHIN"),
    _have("5161", "ENABLE", "ENABLE", ALWAYS),
    _have("5182", "SEARCHRES", "SEARCHRES"),
    _have(
        "5255",
        "I18NLEVEL=1",
        "I18NLEVEL=2",
        reason="i;unicode-casemap, i;ascii-casemap, i;octet (i;ascii-numeric finds no substrings)",
    ),
    _have("5256", "SORT", "SORT"),
    _have("5256", "THREAD", "THREAD=ORDEREDSUBJECT THREAD=REFERENCES"),
    _have("5257", "ANNOTATE", "ANNOTATE-EXPERIMENT-1", reason="up to 64 KiB a value, 100 entries a message"),
    _have("5258", "LIST-EXTENDED", "LIST-EXTENDED"),
    _have("5267", "ESORT / CONTEXT", "ESORT CONTEXT=SEARCH CONTEXT=SORT"),
    _have(
        "5464",
        "METADATA",
        "METADATA METADATA-SERVER",
        reason="changes by others are told to those who ask by NOTIFY",
    ),
    _have("5465", "NOTIFY", "NOTIFY", reason="mailboxes of others are followed as long as they may be read"),
    _have("5466", "FILTERS", "FILTERS"),
    _have("5819", "LIST-STATUS", "LIST-STATUS"),
    _have("5957", "SORT=DISPLAY", "SORT=DISPLAY"),
    _have("6154", "SPECIAL-USE (+CREATE-)", "SPECIAL-USE CREATE-SPECIAL-USE"),
    _have("6203", "SEARCH=FUZZY", "SEARCH=FUZZY"),
    _have("6851", "MOVE", "MOVE"),
    _have("6855/9755", "UTF8=ACCEPT", "UTF8=ACCEPT", reason="UTF8 () of APPEND is taken too; no UTF8=ONLY"),
    _have("7162", "CONDSTORE", "CONDSTORE"),
    _have("7162", "QRESYNC", "QRESYNC"),
    _have("7377", "MULTISEARCH", "MULTISEARCH"),
    _have("7888", "LITERAL+/-", "LITERAL+", ALWAYS, "LITERAL+; LITERAL- is never advertised beside it"),
    _have("7889", "APPENDLIMIT", "APPENDLIMIT=n", AFTER_LOGIN, "one limit for all mailboxes"),
    _have("8437", "UNAUTHENTICATE", "UNAUTHENTICATE", reason="SMTP_IMAP_UNAUTHENTICATE turns it off"),
    _have("8438", "STATUS=SIZE", "STATUS=SIZE"),
    _have("8440", "LIST-MYRIGHTS", "LIST-MYRIGHTS"),
    _have("8474", "OBJECTID", "OBJECTID", reason="a thread is what shares the first reference"),
    _have("8508", "REPLACE", "REPLACE"),
    _have("8514", "SAVEDATE", "SAVEDATE"),
    _have("8970", "PREVIEW", "PREVIEW"),
    _have("9394", "PARTIAL", "PARTIAL"),
    _have("9585", "INPROGRESS", "INPROGRESS"),
    _have("9586", "UIDONLY", "UIDONLY"),
    _have("9590", "LIST-METADATA", "LIST-METADATA"),
    _missing("9698", "JMAPACCESS", "JMAPACCESS", "advertised once JMAP is there", "GETJMAPACCESS"),
    _have(
        "9738",
        "MESSAGELIMIT/SAVELIMIT",
        "SAVELIMIT=n",
        reason="SAVELIMIT: only COPY and APPEND are limited (SMTP_IMAP_SAVE_LIMIT); UIDAFTER and UIDBEFORE are there",
    ),
    _have("10022", "UIDBATCHES", "UIDBATCHES"),
    # Named beside the list
    _missing("2193", "MAILBOX-REFERRALS", "MAILBOX-REFERRALS", "there is no other server to refer to", "RLIST,RLSUB"),
    _missing("2221", "LOGIN-REFERRALS", "LOGIN-REFERRALS", "there is no other server to refer to"),
    _missing("5259", "CONVERT", "CONVERT", "the server converts no media", "CONVERT,UID CONVERT,CONVERSIONS"),
    _have("5524", "URLAUTH=BINARY", "URLAUTH=BINARY"),
    _missing("5738", "UTF8 (first version)", "UTF8=ALL UTF8=APPEND UTF8=USER UTF8=ONLY", "replaced by RFC 6855"),
    _missing("6785", "IMAPSIEVE", "IMAPSIEVE=", "needs Sieve, which is not there yet"),
    _have("5255", "LANGUAGE", "LANGUAGE", ALWAYS, "en and i-default; names of namespaces have no translation"),
    Extension(
        "9051, 4616",
        "AUTH=…",
        tuple(
            f"AUTH={name}"
            for name in ("EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")
        ),
        True,
        BEFORE_LOGIN,
        "SCRAM-SHA-256-PLUS where TLS ends here, EXTERNAL where it brought a client certificate (SMTP_TLS_CLIENT_CA, "
        "pillarbox certificate)",
    ),
)

# What ENABLE turns on; every other name is ignored (RFC 5161 section 3.1).
ENABLES = frozenset({"IMAP4REV2", "CONDSTORE", "QRESYNC", "UTF8=ACCEPT", "UIDONLY"})


def _missing_commands() -> Iterator[tuple[str, Extension]]:
    for extension in EXTENSIONS:
        if not extension.have:
            yield from ((command, extension) for command in extension.commands if command)


MISSING_COMMANDS: dict[str, Extension] = dict(_missing_commands())


@lru_cache(maxsize=64)
def capabilities(state: State, tls: bool, offer: Offer, append_limit: int, save_limit: int) -> str:
    """The words of a CAPABILITY response or code: `IMAP4rev1 IMAP4rev2 LITERAL+ ...`.

    Before the login only what matters there, so that a client asks again (or reads the code in the answer to its
    login) and never believes that a stranger's list is the whole.
    """
    before = state is State.NOT_AUTHENTICATED
    words = ["IMAP4rev1"]
    hidden = (NOT_ADVERTISED, AFTER_LOGIN if before else BEFORE_LOGIN)
    for extension in EXTENSIONS:
        if extension.have and extension.when not in hidden and not extension.tokens[0].startswith("AUTH="):
            words += extension.tokens
    if before:
        if offer.starttls and not tls:
            words.append("STARTTLS")
        if tls or offer.plaintext:
            words += [f"AUTH={mechanism}" for mechanism in offer.auth]
        else:
            words.append("LOGINDISABLED")  # RFC 9051 section 6.2.3
    if not offer.unauthenticate and not before:
        words.remove("UNAUTHENTICATE")
    line = " ".join(words).replace("APPENDLIMIT=n", f"APPENDLIMIT={append_limit}")
    return line.replace("SAVELIMIT=n", f"SAVELIMIT={save_limit}")


def markdown() -> str:
    """The table for the documentation: a row an extension, the missing ones as missing."""
    lines = ["| RFC | extension | capability | here | advertised | remarks |", "|---|---|---|---|---|---|"]
    for row in EXTENSIONS:
        tokens = " ".join(row.tokens)
        have = "yes" if row.have else "**missing**"
        lines.append(f"| {row.rfc} | {row.name} | {tokens} | {have} | {row.when} | {row.reason} |")
    return "\n".join(lines) + "\n"
