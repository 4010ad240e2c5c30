"""The next hop behind a destination's name (see `flow.destination`), with what its route says of it."""

from __future__ import annotations

from typing import NamedTuple, cast, get_args

from pillarbox.store import routes
from pillarbox.store.records import RouteRow
from pillarbox.store.tx import Tx

from ..destination import LOCAL
from ..parcel import Hop, Kind


class Found(NamedTuple):
    """`hop` is None when nothing is sent there: the route is gone, or is one to hold or to discard, and the rows are
    to be routed again. `concurrency` 0: nobody set it."""

    hop: Hop | None
    concurrency: int = 0


def find(tx: Tx, name: str) -> Found:
    """The hop of a destination's name."""
    kind, _, rest = name.partition(" ")
    if name == LOCAL:
        return Found(Hop(name=name, kind="local"))
    if kind == "mx" and rest:
        return Found(Hop(name=name, kind="mx", domain=rest))
    number, _, domain = rest.partition(" ")
    if kind != "route" or not number.isdecimal():
        return Found(None)
    route = routes.get(tx, int(number))
    if route is None or route.kind not in get_args(Kind):
        return Found(None)
    return Found(of_route(name, route, domain), route.concurrency)


def of_route(name: str, route: RouteRow, domain: str) -> Hop:
    """`domain`: the recipients', for kinds that look up its hosts."""
    socket = ""
    if route.host.startswith((routes.SOCKET, "/")):
        socket = route.host.removeprefix(routes.SOCKET)
    return Hop(
        name=name,
        kind=cast(Kind, route.kind),
        domain=domain,
        host="" if socket else route.host,
        port=route.port,
        socket=socket,
        tls=route.tls,
        username=route.username,
        password=route.password,
        ehlo=route.ehlo_name,
        source_ipv4=route.source_ipv4,
        source_ipv6=route.source_ipv6,
    )
