"""Parts out of a BODYSTRUCTURE: as RFC 9051 numbers them, whatever stands in its strings."""

import pytest

from pillarbox.imap.body_structure import decoded_structure, elements, part_structure

TEXT = b'("text" "plain" ("name" {3}\r\n)"() NIL NIL "7bit" 12 1 NIL NIL NIL NIL)'
IMAGE = b'("image" "png" ("name" "a\\")b") NIL NIL "base64" 4 NIL NIL NIL NIL)'
INNER = b"(" + TEXT + IMAGE + b' "alternative" NIL NIL NIL NIL)'
ENVELOPE = b'(NIL "(((" NIL NIL NIL NIL NIL NIL NIL NIL)'


def message(inside):
    return b'("message" "rfc822" NIL NIL NIL "7bit" 300 ' + ENVELOPE + b" " + inside + b" 9 NIL NIL NIL NIL)"


OUTER = b"(" + TEXT + message(INNER) + message(IMAGE) + b' "mixed" ("boundary" "x") NIL NIL NIL)'


@pytest.mark.parametrize(
    ("structure", "part", "wanted"),
    [
        (OUTER, (), OUTER),
        (OUTER, (1,), TEXT),
        (OUTER, (2,), message(INNER)),
        (OUTER, (2, 1), TEXT),
        (OUTER, (2, 2), IMAGE),
        (OUTER, (3, 1), IMAGE),
        (OUTER, (4,), None),
        (OUTER, (1, 1), None),
        (OUTER, (3, 2), None),
        (OUTER, (3, 1, 1), None),
        (TEXT, (1,), TEXT),
        (TEXT, (2,), None),
        (message(INNER), (1,), message(INNER)),
        (message(INNER), (1, 2), IMAGE),
    ],
)
def test_parts_by_their_numbers(structure, part, wanted):
    assert part_structure(structure, part) == wanted


def test_elements_are_taken_apart_and_put_together():
    for structure in (TEXT, IMAGE, ENVELOPE, message(INNER)):
        assert b"(" + b" ".join(elements(structure)) + b")" == structure


def test_the_structure_of_what_was_decoded():
    assert decoded_structure(IMAGE, b"a\0") == IMAGE.replace(b'"base64" 4', b'"BINARY" 2')
    assert decoded_structure(TEXT, b"gr\xc3\xbcn") == TEXT.replace(b'"7bit" 12', b'"8BIT" 5')
    assert decoded_structure(INNER, b"x") == INNER
    assert decoded_structure(message(TEXT), b"x") == message(TEXT)
