"""`sendmail -bs`: what standard input says reaches the server as SMTP."""

import pytest

from pillarbox.cli.sendmail_pipe import Lines


@pytest.mark.parametrize("cut", range(1, 12))
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"HELO x\nQUIT\n", b"HELO x\r\nQUIT\r\n"),
        (b"\n\nQUIT\n", b"\r\n\r\nQUIT\r\n"),
        (b"HELO x\nRSET\r\nQUIT\n", b"HELO x\r\nRSET\r\nQUIT\r\n"),
        (b"HELO x\r\nBDAT 3\r\na\n\n", b"HELO x\r\nBDAT 3\r\na\n\n"),
        (b"HELO", b"HELO"),
    ],
)
def test_lines_that_end_in_lf_alone_are_ended_as_smtp_has_it(said, heard, cut):
    lines = Lines()
    assert b"".join(lines.crlf(said[at : at + cut]) for at in range(0, len(said), cut)) == heard
