"""Annotations as they are asked for and told (RFC 5257)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap import annotation_grammar
from pillarbox.imap.annotation import AnnotationChange, Annotations
from pillarbox.imap.annotation_grammar import annotation, changes, fetched, part_of
from pillarbox.imap.syntax import BadSyntax, Cursor


@pytest.mark.parametrize(
    ("text", "entries", "attributes"),
    [
        (b"(/comment value)", "/comment", "value.priv value.shared"),
        (b"(/* (value.priv size.priv))", "/*", "value.priv size.priv"),
        (
            b"((/comment /altsubject) (value size))",
            "/comment /altsubject",
            "value.priv value.shared size.priv size.shared",
        ),
        (b'("/vendor/a b/%" "VALUE.Shared")', "/vendor/a b/%", "value.shared"),
        (b"(/1.2/comment size.shared)", "/1.2/comment", "size.shared"),
        (b"(* value)", "*", "value.priv value.shared"),
    ],
)
def test_what_is_fetched(text, entries, attributes):
    asked = fetched(Cursor(text))
    assert asked.attributes == tuple(attributes.split())
    assert " ".join(asked.entries) == entries


@pytest.mark.parametrize(
    "text",
    [
        b"/comment value",
        b"(/comment)",
        b"(() value)",
        b"(/comment ())",
        b"(comment value)",
        b"(/comment/ value)",
        b"(//comment value)",
        b"(/ value)",
        b"(/flags value)",
        b"(/flags/seen value)",
        b"(/0/comment value)",
        b"(/1..2/comment value)",
        b"(/1a/comment value)",
        b"(/comment content-type)",
        b'("/c\xc3\xa9" value)',
        b'("/' + b"x" * 1000 + b'" value)',
    ],
)
def test_what_is_no_entry_or_attribute(text):
    with pytest.raises(BadSyntax):
        fetched(Cursor(text))


def test_what_is_stored():
    text = b'(/comment (value.priv "a" value.shared NIL) /2.1/flags/seen (value.priv "1") '
    text += b'"/vendor/x" (value.priv ~{3}\r\na\0b))'
    assert changes(Cursor(text)) == (
        AnnotationChange("/comment", False, b"a"),
        AnnotationChange("/comment", True, None),
        AnnotationChange("/2.1/flags/seen", False, b"1"),
        AnnotationChange("/vendor/x", False, b"a\0b"),
    )
    assert part_of("/2.1/flags/seen") == (2, 1)
    assert part_of("/comment") == part_of("/vendor/1/2") == ()


@pytest.mark.parametrize(
    "text",
    [
        b"()",
        b"(/comment ())",
        b'(/comment "x")',
        b'(/comment (value "x"))',
        b'(/comment (size.priv "3"))',
        b'(/* (value.priv "x"))',
        b'(/remark (value.priv "x"))',
        b'(/1/altsubject (value.priv "x"))',
        b'(/1/flags/seen (value.priv "2"))',
        b'(/1/flags/draft (value.priv "1"))',
        b'(/vendor (value.priv "1"))',
        b"(/comment (value.priv atom))",
    ],
)
def test_what_cannot_be_stored(text):
    with pytest.raises(BadSyntax):
        changes(Cursor(text))


def test_what_is_told():
    values = {("/comment", False): b"a", ("/comment", True): b"b\0", ("/vendor/x y", False): b"\xc3\xa9"}
    asked = Annotations(("/comment", "/altsubject"), ("value.priv", "value.shared", "size.shared"))
    assert annotation(asked, values) == (
        b'ANNOTATION (/comment (value.priv "a" value.shared ~{2}\r\nb\0 size.shared "2") '
        b'/altsubject (value.priv NIL value.shared NIL size.shared "0"))'
    )
    assert annotation(Annotations(("/%",), ("size.priv",)), values) == b'ANNOTATION (/comment (size.priv "1"))'
    assert annotation(Annotations(("/*",), ("value.shared",)), values) == (
        b"ANNOTATION (/comment (value.shared ~{2}\r\nb\0))"
    )
    told = annotation(Annotations(("*",), ("value.priv",)), values)
    assert told == b'ANNOTATION (/comment (value.priv "a") "/vendor/x y" (value.priv {2}\r\n\xc3\xa9))'
    assert annotation(Annotations(("/1/*",), ("value.priv",)), values) is None


@given(st.binary(max_size=60))
def test_any_octets_are_read_or_refused(octets):
    for parse in (fetched, changes, annotation_grammar.pattern, annotation_grammar.entry):
        try:
            parse(Cursor(octets))
        except (BadSyntax, annotation_grammar.NeedsLiteral):
            continue
