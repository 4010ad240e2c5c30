"""What is declared of libunbound is what the library has."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pillarbox.dns import open_resolver
from pillarbox.dns.servers import Server
from pillarbox.dns.unbound import UnboundEngine, UnboundError
from pillarbox.dns.unbound_library import Result, load, missing_library


def test_a_library_that_is_missing_or_another_is_an_os_error() -> None:
    with pytest.raises(OSError):
        load("libunbound-that-is-not-there.so.8")
    with pytest.raises(OSError, match="not the library we know"):
        load("libc.so.6")


@pytest.mark.skipif(bool(missing_library()), reason="libunbound8 is not installed")
def test_the_library_says_its_version() -> None:
    assert load().ub_version().startswith(b"1.")


def test_the_result_is_laid_out_as_in_unbound_h() -> None:
    """`struct ub_result` on a machine with pointers of 8 octets; a wrong offset would be read as an address."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("other pointers")
    offsets = {name: getattr(Result, name).offset for name, _ in Result._fields_}
    assert offsets["data"] == 16
    assert offsets["canonname"] == 32
    assert offsets["answer_packet"] == 48
    assert offsets["havedata"] == 60
    assert offsets["why_bogus"] == 80
    assert offsets["ttl"] == 92


@pytest.mark.skipif(bool(missing_library()), reason="libunbound8 is not installed")
async def test_a_trust_anchor_that_is_none_is_said_and_nothing_is_left_open(tmp_path: Path) -> None:
    anchor = tmp_path / "anchor"
    anchor.write_text("no zone file at all\n")
    with pytest.raises(UnboundError, match="anchor"):
        UnboundEngine([Server("127.0.0.1", 9)], anchor_file=str(anchor))
    with pytest.raises(UnboundError):
        UnboundEngine([Server("127.0.0.1", 9)], anchors=["no record"])
    resolver = open_resolver(engine="unbound", servers=["127.0.0.1@9"], trust_anchor=str(anchor))
    with capture_logs() as lines:
        resolver.introduce()
    assert [(line["log_level"], str(anchor) in line["event"]) for line in lines] == [("error", True)]
    assert (await resolver.query("a.example", "A")).status == "temperror"
    await resolver.close()
