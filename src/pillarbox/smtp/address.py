"""Addresses as the envelope knows them: `Path`, its grammar, and the comparison of domains.

The grammar is that of RFC 5321 section 4.1.2 with the UTF-8 of RFC 6531 section 3.3. Comments and folding white space
belong to message headers (RFC 5322) and are no addresses here.
"""

import re
import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from msgspec import Struct

MAX_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
MAX_DOMAIN = 255  # octets, section 4.5.3.1.2
MAX_PATH = 256  # octets with the angle brackets, section 4.5.3.1.3


class AddressError(ValueError):
    """Not an address; the text says why."""


class Path(Struct, frozen=True, gc=False):
    """A reverse or forward path.

    `local` is the plain local part: quotes and backslashes taken away, NFC, case kept. `domain` is in lower case and
    NFC, a U-label stays one; an address literal keeps its brackets (`[192.0.2.1]`, `[ipv6:2001:db8::1]`, the shortest
    form). `raw` is what stood between the angle brackets. The null path `<>` is all empty.
    """

    local: str
    domain: str
    raw: str

    @property
    def is_null(self) -> bool:
        return not self.raw

    @property
    def is_literal(self) -> bool:
        """Whether the domain is an address literal."""
        return self.domain.startswith("[")

    @property
    def address(self) -> str:
        """The address to write elsewhere: the local part quoted only where it must be; "" for the null path."""
        if not self.domain:
            return self.local
        return f"{quoted_local(self.local)}@{self.domain}"

    @property
    def domain_key(self) -> str:
        """The domain for comparing and looking up (see `domain_key`)."""
        return domain_key(self.domain)

    @property
    def is_ascii(self) -> bool:
        return self.raw.isascii()


NULL = Path("", "", "")

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_STRING = re.compile(rf"[{_ATEXT}\x80-\U0010ffff]+(?:\.[{_ATEXT}\x80-\U0010ffff]+)*")
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*"')  # QcontentSMTP: no control characters
_PLAIN_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*")
_PLAIN = re.compile(rf"([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@({_PLAIN_DOMAIN.pattern})")
_IPV4 = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_ESCAPE = re.compile(r"\\(.)")
_ROUTE = re.compile(r"@[^@,: ]+(?:,@[^@,: ]+)*:")


@lru_cache(maxsize=1024)  # a relayed message has each of its addresses parsed on the way in and on the way out
def parse_path(text: str, *, max_local: int = MAX_LOCAL) -> Path:
    """The mailbox between the angle brackets, a source route in front of it dropped (RFC 5321 appendix C).

    `text` is without the brackets and not empty. `max_local` is in octets. Raises AddressError.
    """
    plain = _PLAIN.fullmatch(text)
    if plain is not None and len(text) + 2 <= MAX_PATH:
        local, domain = plain.groups()
        if len(local) <= max_local and _labels_fit(domain):
            return Path(local, domain.lower(), text)
    return _parse_slowly(text, max_local)


def _parse_slowly(text: str, max_local: int) -> Path:
    route = _ROUTE.match(text)
    mailbox = text
    if route is not None:
        for hop in route[0][:-1].split(","):
            parse_domain(hop[1:])
        mailbox = text[route.end() :]
    if len(mailbox.encode()) + 2 > MAX_PATH:
        raise AddressError("address too long")
    written, domain = _split(mailbox)
    if len(written.encode()) > max_local:
        raise AddressError("local part too long")
    return Path(_local_value(written), parse_domain(domain), text)


def _split(mailbox: str) -> tuple[str, str]:
    """The local part as written and the domain."""
    local = (_QUOTED if mailbox.startswith('"') else _DOT_STRING).match(mailbox)
    if local is None:
        raise AddressError("bad local part")
    if mailbox[local.end() : local.end() + 1] != "@":
        raise AddressError("no domain" if local.end() == len(mailbox) else "bad local part")
    return local[0], mailbox[local.end() + 1 :]


def _local_value(written: str) -> str:
    if written.startswith('"'):
        written = _ESCAPE.sub(r"\1", written[1:-1])
    if written.isascii():
        return written
    if not all(map(_is_text, written)):
        raise AddressError("bad local part")
    return unicodedata.normalize("NFC", written)


def quoted_local(local: str) -> str:
    """A local part as it is written in an address: quoted unless it is a Dot-string."""
    if _DOT_STRING.fullmatch(local):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_domain(text: str) -> str:
    """A domain or an address literal in its lower-case form. Raises AddressError."""
    if text.startswith("["):
        return parse_literal(text)
    if len(text.encode()) > MAX_DOMAIN:
        raise AddressError("domain too long")
    if text.isascii():
        if not _PLAIN_DOMAIN.fullmatch(text) or not _labels_fit(text):
            raise AddressError("bad domain")
        return text.lower()
    domain = unicodedata.normalize("NFC", text).lower()
    for label in domain.split("."):
        if not _is_label(label):
            raise AddressError("bad domain")
    if len(domain_key(domain)) > MAX_DOMAIN:
        raise AddressError("domain too long")
    return domain


def parse_literal(text: str) -> str:
    """`[192.0.2.1]` or `[IPv6:...]`; no other tag is registered (RFC 5321 section 4.1.3). Raises AddressError."""
    if not text.endswith("]"):
        raise AddressError("bad address literal")
    inner = text[1:-1]
    if inner[:5].lower() == "ipv6:":
        try:
            if "%" in inner:
                raise AddressError("bad address literal")  # a zone means nothing to another host
            address = IPv6Address(inner[5:])
            # RFC 5952 section 5; Python itself writes it so from 3.13 on, and names in the queue outlive an upgrade.
            mapped = address.ipv4_mapped
            return f"[ipv6:{address}]" if mapped is None else f"[ipv6:::ffff:{mapped}]"
        except AddressValueError:
            raise AddressError("bad address literal") from None
    octets = _IPV4.fullmatch(inner)
    if octets is None or any(int(octet) > 255 for octet in octets.groups()):
        raise AddressError("bad address literal")
    return f"[{'.'.join(str(int(octet)) for octet in octets.groups())}]"


def domain_key(domain: str) -> str:
    """The form in which two domains are the same: lower case, NFC, every U-label as its A-label (RFC 5891 section 4.4),
    without a final dot. Never raises; what is no domain comes back in lower case."""
    if domain.isascii():
        return domain.lower().removesuffix(".")
    labels = unicodedata.normalize("NFC", domain).lower().removesuffix(".").split(".")
    return ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode", "replace").decode("ascii") for label in labels
    )


def _labels_fit(domain: str) -> bool:
    if len(domain) <= 63:
        return True
    return len(domain) <= MAX_DOMAIN and max(map(len, domain.split("."))) <= 63


def _is_label(label: str) -> bool:
    if label.isascii():
        return bool(_PLAIN_DOMAIN.fullmatch(label)) and len(label) <= 63
    if label.startswith("-") or label.endswith("-"):
        return False
    encoded = 4 + len(label.encode("punycode"))
    return encoded <= 63 and all(char == "-" or char in _JOINERS or _is_letter(char) for char in label)


_JOINERS = "\u200c\u200d\u00b7\u0375\u05f3\u05f4\u30fb"  # contextual, RFC 5892 appendix A


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"


def _is_text(char: str) -> bool:
    """Neither a control character nor a line separator nor unassigned."""
    return char.isascii() or unicodedata.category(char) not in ("Cc", "Zl", "Zp", "Cs", "Cn", "Co")
