"""What the MIME fields of a part say of it, with its pieces of BODYSTRUCTURE rendered (RFC 2045, RFC 9051 7.5.2)."""

from __future__ import annotations

import re
from functools import lru_cache

from pillarbox.mime.header import unfold
from pillarbox.mime.parameters import TOKEN, Pairs, parse_parameters, text_of
from pillarbox.mime.render import NIL, nstring, parameters, string
from pillarbox.mime.transfer import IDENTITY

MAX_BOUNDARY = 8000  # octets; RFC 2046 section 5.1.1 allows 70
MAX_NAME = 255  # characters of a file name, charset or Content-ID that are kept

_MEDIA_TYPE = re.compile(rb"\s*+(" + TOKEN + rb")\s*+/\s*+(" + TOKEN + rb")(?![^\s;(,])")
_DISPOSITION = re.compile(rb"\s*+(" + TOKEN + rb")?\s*+(?=;|\(|\Z)")
_ENCODING = re.compile(rb"[\s\"]*+(" + TOKEN + rb")")
_LANGUAGE = re.compile(rb"[A-Za-z0-9-]{1,63}+")
_COMMENT = re.compile(rb"\([^()]*+\)")
_SPACE = re.compile(rb"\s++")
_ASCII_PLAIN: Pairs = [(b"charset", b"us-ascii")]

_FIELDS = (
    b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-id", b"content-description",
    b"content-md5", b"content-language", b"content-location",
)  # fmt: skip


def parse_content_type(value: bytes) -> tuple[bytes, bytes, Pairs] | None:
    """Type and subtype in lower case and the parameters; None when the value is invalid."""
    match = _MEDIA_TYPE.match(value)
    if match is None and b"(" in value:  # comments may stand between all of it
        start, semicolon, rest = value.partition(b";")
        value = _COMMENT.sub(b" ", start) + semicolon + rest
        match = _MEDIA_TYPE.match(value)
    if match is None:
        return None
    return match[1].lower(), match[2].lower(), parse_parameters(value[match.end() :])


class Content:
    """The description of one part. Immutable: equal headers share one.

    `type`, `subtype`, `encoding`, `charset` in lower case. `basic` is the rendered start of a BODYSTRUCTURE up to the
    encoding, `parameters` the rendered Content-Type parameters (a multipart shows nothing else of them), `extension`
    the rendered disposition, language and location with a space before each, `md5` likewise.
    """

    __slots__ = (
        "basic", "boundary", "charset", "content_id", "disposition", "encoding", "extension", "filename", "is_digest",
        "is_message", "is_multipart", "is_readable", "md5", "parameters", "quoted_subtype", "subtype", "type",
    )  # fmt: skip

    def __init__(self, values: tuple[bytes | None, ...], digest: bool) -> None:
        ctype, encoding, disposition, content_id, description, md5, language, location = values
        media = parse_content_type(ctype) if ctype is not None else None
        pairs: Pairs
        if media is not None:
            kind, subtype, pairs = media
        elif digest and ctype is None:
            kind, subtype, pairs = b"message", b"rfc822", []  # RFC 2046 section 5.1.5
        else:
            kind, subtype, pairs = b"text", b"plain", []  # absent, or invalid: RFC 2045 section 5.2
        self.type = kind.decode("ascii")
        self.subtype = subtype.decode("ascii")
        # RFC 2046 section 4.1.2; other subtypes of text have no default (RFC 6657).
        plain = kind == b"text" and subtype == b"plain"
        if plain and not any(name in (b"charset", b"charset*") for name, _ in pairs):
            pairs = [*_ASCII_PLAIN, *pairs]
        charset = text_of(pairs, b"charset") if kind == b"text" else None
        self.charset = _stored(charset).lower()
        boundary = next((value for name, value in pairs if name == b"boundary"), b"") if kind == b"multipart" else b""
        self.boundary = boundary if len(boundary) <= MAX_BOUNDARY and b"\n" not in boundary else b""

        match = _ENCODING.match(encoding) if encoding is not None else None
        cte = match[1].lower() if match is not None else b"7bit"
        self.encoding = cte.decode("ascii")

        self.disposition, dsp, disposition_pairs = "", NIL, []
        if disposition is not None:
            match = _DISPOSITION.match(disposition)
            name = match[1] if match is not None else None
            disposition_pairs = parse_parameters(disposition[match.end() :] if match is not None else disposition)
            if name is None and disposition_pairs:
                name = b"attachment"  # a disposition we cannot read (RFC 2183 section 2.8)
            if name is not None:
                self.disposition = name.lower().decode("ascii")
                dsp = b"(" + string(name.upper()) + b" " + parameters(disposition_pairs) + b")"
        filename = text_of(disposition_pairs, b"filename") if disposition_pairs else None
        if filename is None and pairs:
            filename = text_of(pairs, b"name")
        self.filename = _stored(filename)
        cid = unfold(content_id) if content_id is not None else None
        self.content_id = _stored((cid or b"").decode("utf-8", "replace").strip("<> "))

        self.parameters = parameters(pairs)
        self.quoted_subtype = string(subtype.upper())
        self.basic = b"%b %b %b %b %b %b" % (
            string(kind.upper()),
            self.quoted_subtype,
            self.parameters,
            nstring(cid),
            nstring(unfold(description) if description is not None else None),
            string(cte.upper()),
        )
        self.md5 = b" " + nstring(unfold(md5) if md5 is not None else None)
        self.extension = b" %b %b %b" % (
            dsp,
            _languages(language) if language is not None else NIL,
            nstring(_SPACE.sub(b"", location) if location is not None else None),  # RFC 2557 section 4.4
        )
        self.is_multipart = kind == b"multipart"
        self.is_digest = self.is_multipart and subtype == b"digest"
        # An embedded message: RFC 2046 section 5.2.1, RFC 6532 section 3.7.
        self.is_message = kind == b"message" and subtype in (b"rfc822", b"global")
        # The body is there as it is, so that structure can be found in it.
        self.is_readable = self.encoding in IDENTITY


def _stored(text: str | None) -> str:
    """Text that is kept beside the message: no NUL, which PostgreSQL cannot hold, and not too long."""
    return text.replace("\0", "").strip()[:MAX_NAME] if text else ""


def _languages(value: bytes) -> bytes:
    tags = _LANGUAGE.findall(_COMMENT.sub(b" ", value))[:20]
    if not tags:
        return NIL
    if len(tags) == 1:
        return string(tags[0])
    return b"(" + b" ".join([string(tag) for tag in tags]) + b")"


def describe(fields: dict[bytes, bytes], digest: bool = False) -> Content:
    """The content of a part with these fields; `digest`: it is directly in a multipart/digest."""
    values = tuple(map(fields.get, _FIELDS))
    kind = values[0]
    if kind is not None and b"oundary" in kind:
        return Content(values, digest)
    if sum([len(value) for value in values if value is not None]) <= 300:
        return _remembered(values, digest)
    return Content(values, digest)


# Most parts of most messages look like thousands of others; a boundary makes a multipart a new one each time.
_remembered = lru_cache(maxsize=512)(Content)
