"""Octets in a named charset to text, for mail that often lies about it. Never raises.

Only charsets of a fixed table are decoded: Python's codec registry remembers every unknown name it is asked for (a
stranger could fill the memory with them), and some of its "codecs" are no charsets at all or take quadratic time.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases

# Transformations that are not charsets, and codecs of one platform only. (idna, punycode and unicode_escape have no
# alias, so they are not in the table at all.)
_NOT_CHARSETS = frozenset(
    ("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs", "oem")
)

# Senders say the smaller set and mean the larger one (the WHATWG Encoding Standard has the same pairs).
_SUPERSETS = {
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
}

_EXTRA = {
    "x_sjis": "cp932",
    "windows_31j": "cp932",
    "x_gbk": "gb18030",
    "x_euc_jp": "euc_jp",
    "ks_c_5601_1987": "cp949",
    "ksc5601": "cp949",
    "windows_874": "cp874",
    "windows_949": "cp949",
    "unicode_1_1_utf_7": "utf_7",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "macintosh": "mac_roman",
    "x_mac_roman": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "koi8_u": "koi8_u",
    "koi8_ru": "koi8_u",
    "utf_8_sig": "utf_8_sig",
}


def _table() -> dict[str, str]:
    table = {name: codec for name, codec in aliases.items() if codec not in _NOT_CHARSETS}
    table.update({codec: codec for codec in set(table.values())})
    table.update(_EXTRA)
    return {name: _SUPERSETS.get(codec, codec) for name, codec in table.items()}


_CODECS = _table()
_PUNCTUATION = re.compile(r"[^0-9a-z]+")
_GUESSED = frozenset(
    ("", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "default", "unknown", "none", "7bit", "8bit")
)


def codec_of(charset: str) -> str | None:
    """The Python codec for a charset name as mail writes it, or None when there is none."""
    if len(charset) > 64:
        return None
    return _CODECS.get(_PUNCTUATION.sub("_", charset.lower()).strip("_"))


def decode(data: bytes, charset: str = "") -> str:
    """`data` as text. An unknown, absent or US-ASCII charset is guessed: UTF-8 when it fits, else windows-1252."""
    if data.isascii() and not data.count(b"\x1b") and charset in ("", "us-ascii", "utf-8"):
        return data.decode("ascii")
    name = charset.lower()
    codec = None if name in _GUESSED else codec_of(name)
    if codec is None:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("cp1252", "replace")
    try:
        text = data.decode(codec, "replace")
        if codec == "utf_7":  # the only one that lets half a surrogate pair through, which nothing can encode again
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text
    except (ValueError, LookupError):  # a codec that does not know "replace"
        return data.decode("latin-1")
