"""A TLS handshake in memory, with a session that the client has from another one."""

from __future__ import annotations

import ssl


def connect(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLSession, ssl.SSLObject]:
    """The session that the client has afterwards, and the server's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="mx.test", session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (ours, theirs, ours, theirs, ours):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    theirs.write(b"220")
    assert ours.read() == b"220"  # in TLS 1.3 the ticket comes with the first data
    assert ours.session is not None and theirs.session_reused == ours.session_reused
    return ours.session, theirs


def goes_on(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession) -> bool:
    """Whether the server takes this session up again."""
    return bool(connect(client, server, session)[1].session_reused)
