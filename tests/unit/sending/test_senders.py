"""Senders of forwarded mail: rewritten where their domain means what it says."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import EPOCH

from pillarbox.dns import Answer
from pillarbox.flow import srs
from pillarbox.flow.sending.senders import ForwardedSenders, strict
from pillarbox.store import directory, secrets
from world import TAKEN


class Zone:
    def __init__(self, **records: object) -> None:
        self.records = records
        self.asked: list[str] = []

    async def query(self, name: str, kind: str) -> Answer:
        assert kind == "TXT"
        self.asked.append(name)
        found = self.records.get(name)
        if found is None:
            return Answer("nxdomain")
        return Answer("ok", (b"unrelated", found)) if isinstance(found, bytes) else Answer(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("records", "is_strict"),
    [
        ({}, False),
        ({"a.example": b"v=spf1 mx -all"}, True),
        ({"a.example": b"V=SPF1 mx ~ALL"}, True),
        ({"a.example": b"v=spf1 mx ?all"}, False),
        ({"a.example": b"v=spf1 redirect=_spf.b.example"}, True),
        ({"a.example": b"v=spf10 -all"}, False),
        ({"_dmarc.a.example": b"v=DMARC1; p=reject"}, True),
        ({"_dmarc.a.example": b"v=DMARC1; p=none; sp=reject"}, False),
        ({"a.example": b"v=spf1 +all", "_dmarc.a.example": b"v=DMARC1;p=quarantine;pct=5"}, True),
        ({"a.example": "temperror"}, True),
        ({"_dmarc.a.example": "bogus"}, True),
        ({"a.example": "nodata"}, False),
    ],
)
def test_strict_domains(records, is_strict):
    assert asyncio.run(strict(Zone(**records), "a.example")) == is_strict


def test_a_parents_dmarc_counts_for_its_subdomains():
    assert asyncio.run(strict(Zone(**{"_dmarc.a.example": b"v=DMARC1; p=none; sp=reject"}), "b.c.a.example"))
    zone = Zone()
    assert not asyncio.run(strict(zone, "a.b.c.d.e.f.example"))
    assert "_dmarc.example" not in zone.asked
    assert len(zone.asked) <= 5


def test_only_what_an_address_of_ours_forwarded_is_rewritten_and_reports_go_to_the_true_sender(run):
    async def body(office):
        zone = Zone(**{"strict.example": b"v=spf1 -all"})
        await office.store.write(directory.create_user, "ada@example.com", "ada@example.com", "hash", "scram")
        senders = ForwardedSenders(office.store, zone, office.loop.clock)
        server = office.world.servers["mx example.net"]
        office.start(senders=senders)
        await office.put("a@example.net", sender="eve@strict.example", via="alias@example.com")
        await office.put("b@example.net", sender="eve@strict.example")
        await office.put("c@example.net", sender="eve@lax.example", via="alias@example.com")
        await office.put("d@example.net", sender="ada@example.com", via="alias@example.com")
        await office.put("e@example.net", sender="", via="alias@example.com")
        await office.empty(seconds=60)
        seen = {parcel.recipients[0].address[0]: parcel.sender for parcel in server.parcels}
        rewritten = seen.pop("a")
        assert seen == {"b": "eve@strict.example", "c": "eve@lax.example", "d": "ada@example.com", "e": ""}
        assert rewritten.endswith("@example.com")
        key = await office.store.read(secrets.secret, srs.KEY)
        assert srs.Rewriter(key).reverse(rewritten.rpartition("@")[0], EPOCH) == "eve@strict.example"
        ((detail,),) = await office.ask("SELECT detail FROM message_events WHERE recipient = 'a@example.net'")
        assert rewritten in detail
        assert TAKEN.text in detail

    run(body)
