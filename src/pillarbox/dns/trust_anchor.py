"""Where validation begins: the keys of the root zone.

They are built in, and those of the system are trusted beside them, so that neither an old system nor an old Pillarbox
fails when the root's key changes. A file that the operator names is trusted alone.
"""

from __future__ import annotations

from pathlib import Path

# https://data.iana.org/root-anchors/root-anchors.xml: the keys of 2017 and of 2024.
ROOT = (
    ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)
# Debian's unbound keeps the first up to date by RFC 5011, its package dns-root-data brings the second.
SYSTEM_FILES = (Path("/var/lib/unbound/root.key"), Path("/usr/share/dns/root.key"))


def system_anchors(files: tuple[Path, ...] = SYSTEM_FILES) -> tuple[str, ...]:
    """The built-in keys and those of the first system file that can be read, in the form of a zone file.

    An RFC 5011 file has a state in a comment behind each key; only keys in use (VALID, 2) count.
    """
    for file in files:
        try:
            text = file.read_text("latin-1")
        except OSError:
            continue
        lines = [line for line in text.splitlines() if _is_key(line)]
        if lines:
            return ROOT + tuple(line.partition(";")[0].strip() for line in lines)
    return ROOT


def _is_key(line: str) -> bool:
    words = line.partition(";")[0].split()
    if not words or words[0] != "." or not {"DNSKEY", "DS"} & set(words[:5]):
        return False
    state = line.partition(";;state=")[2][:1]
    return state in ("", "2")
