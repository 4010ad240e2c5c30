"""Messages nobody here wrote: parse trees compared with those that come with them (PILLARBOX_TEST_DATA/mime)."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import fuzz_mime
import pytest

from pillarbox.mime.analysis import Part, analyse, load_parts
from pillarbox.mime.header import raw_values, unfold
from pillarbox.mime.transfer import decode_transfer

ROOT = os.environ.get("PILLARBOX_TEST_DATA")
if not ROOT:
    pytest.skip("PILLARBOX_TEST_DATA is not set", allow_module_level=True)
MIME = Path(ROOT) / "mime"

MAIL_PARSER = sorted((MIME / "mail-parser").glob("*/*.eml"))
MIME4J = sorted((MIME / "mime4j").glob("*.msg"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", MAIL_PARSER + MIME4J, ids=name_of)
def test_every_foreign_message_keeps_the_invariants(path: Path) -> None:
    data = path.read_bytes()
    for message in (data, data.replace(b"\r\n", b"\n"), data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        fuzz_mime.run(message)


# mail-parser: trees with offsets.

OUTER_DELIMITER = "an outer delimiter ends the inner part (RFC 2046 5.1.2); mail-parser looks for the innermost only"
PREFIX = "mail-parser takes a line that only begins with the boundary for a delimiter"
NO_PARTS = "a multipart in which no part is found has one text child here"
MAIL_PARSER_DIFFERENCES = {
    "malformed/000": "mail-parser finds no part at all because the part headers have no empty line",
    "malformed/001": OUTER_DELIMITER,
    "malformed/002": NO_PARTS,
    "malformed/004": PREFIX,
    "malformed/007": "the header of a part ends at a delimiter of a multipart around it, not of its own; " + NO_PARTS,
    "malformed/008": OUTER_DELIMITER,
    "malformed/009": OUTER_DELIMITER,
    "malformed/011": OUTER_DELIMITER,
    "malformed/012": OUTER_DELIMITER,
    "malformed/016": OUTER_DELIMITER,
    "malformed/019": "a part whose first line is no field has no header here",
    "malformed/020": "of two Content-Type fields the first one counts here, the last one there",
    "malformed/021": "of two Content-Type fields the first one counts here, the last one there",
    "malformed/022": "a message/rfc822 part stays one here, with a message that has no header in it",
    "rfc/008": "an embedded message in base64 is not decoded: its parts have no offsets in the message",
    "thirdparty/005": "mail-parser takes a boundary in the middle of a line for a delimiter",
    "thirdparty/015": "the header of an embedded message ends at a delimiter around it (RFC 2046 5.1.2)",
}


def mail_parser_tree(message: dict[str, Any], index: int = 0) -> Any:
    part = message["parts"][index]
    children: list[Any] = []
    if isinstance(part["body"], dict):
        children = [mail_parser_tree(message, child) for child in part["body"].get("Multipart", [])]
        if "Message" in part["body"]:
            children = [mail_parser_tree(part["body"]["Message"])]
    content_type = "message/rfc822" if children else "text/plain"
    for header in part["headers"]:
        if header["name"] == "content_type" and "ContentType" in header["value"]:
            value = header["value"]["ContentType"]
            content_type = f"{value['c_type']}/{value['c_subtype']}".lower()
    return content_type, part["offset_header"], part["offset_body"], part["offset_end"], children


def our_tree(part: Part) -> Any:
    return f"{part.type}/{part.subtype}", part.header, part.body, part.end, [our_tree(child) for child in part.children]


@pytest.mark.parametrize("path", MAIL_PARSER, ids=name_of)
@pytest.mark.parametrize("ends", ["lf", "crlf"])
def test_the_tree_and_its_offsets_are_those_of_mail_parser(path: Path, ends: str) -> None:
    data = path.read_bytes().replace(b"\r\n", b"\n")
    if ends == "crlf":
        data = data.replace(b"\n", b"\r\n")
    expected = mail_parser_tree(json.loads(path.with_suffix(".crlf.json" if ends == "crlf" else ".json").read_text()))
    got = our_tree(load_parts(analyse(data).parts))
    if name_of(path) in MAIL_PARSER_DIFFERENCES:
        assert got != expected, "the difference is gone: take it off the list"
    else:
        assert got == expected


# mime4j: trees in XML, with decoded bodies in files.

ENCODED_MESSAGE = "an embedded message in base64 is not decoded: its parts have no offsets in the message"
MIME4J_DIFFERENCES = {
    "base64encoded-rfc822message": ENCODED_MESSAGE,
    "base64encoded-rfc822message-nested": ENCODED_MESSAGE,
    "bad-newlines-multiple-parts-base64": ENCODED_MESSAGE,
    "malformedHeader-noheader": "a message without any field is all body here; mime4j loses the text in this mode",
    "malformedHeaderStartsBody-noheader": "a message without any field is all body here; mime4j keeps its first line",
    "malformedHeaderStartsBody-nocrlfcrlf": "a later line that is no field does not end the header here, "
    "nor in the other of mime4j's two modes (malformedHeader-nocrlfcrlf)",
}


def mime4j_tree(element: ElementTree.Element) -> Any:
    """Nested lists of leaves; a leaf is the name of the file with its decoded body."""
    for child in element:
        if child.tag in ("text-body", "binary-body"):
            return child.attrib["name"]
        if child.tag == "multipart":
            return [mime4j_tree(part) for part in child if part.tag == "body-part"]
        if child.tag == "message":
            return [mime4j_tree(child)]
    raise AssertionError(f"no body in {element.tag}")


def compare(part: Part, expected: Any, data: bytes, folder: Path) -> None:
    if isinstance(expected, list):
        assert part.is_multipart or part.is_message
        if not expected:  # no parts: one child that is all of it
            assert [(child.header, child.end) for child in part.children] == [(part.body, part.end)]
            return
        assert len(part.children) == len(expected)
        for child, wanted in zip(part.children, expected, strict=True):
            compare(child, wanted, data, folder)
        return
    assert not part.children
    body = decode_transfer(data[part.body : part.end], part.encoding)
    assert body is not None
    # The files of text bodies were written with the line ends and in the charset of the message, or with LF.
    wanted = (folder / expected).read_bytes()
    assert body.replace(b"\r\n", b"\n") == wanted.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("path", MIME4J, ids=name_of)
def test_parts_and_decoded_bodies_are_those_of_mime4j(path: Path) -> None:
    data = path.read_bytes()
    document = ElementTree.parse(path.with_name(path.stem + "_decoded.xml")).getroot()
    root = load_parts(analyse(data).parts)
    if path.stem in MIME4J_DIFFERENCES:
        with pytest.raises(AssertionError):
            compare(root, mime4j_tree(document), data, path.parent)
    else:
        compare(root, mime4j_tree(document), data, path.parent)


@pytest.mark.parametrize("path", [p for p in MIME4J if p.stem not in MIME4J_DIFFERENCES], ids=name_of)
def test_header_fields_are_those_of_mime4j(path: Path) -> None:
    data = path.read_bytes()
    document = ElementTree.parse(path.with_name(path.stem + "_decoded.xml")).getroot()
    header = document.find("header")
    assert header is not None
    ours = data[: load_parts(analyse(data).parts).body]
    for field in header.findall("field"):
        name, _, value = (field.text or "").lstrip("\n").partition(":")
        assert unfold(value.encode()) in raw_values(ours, name.strip().encode())
