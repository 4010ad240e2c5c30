"""SMTP, LMTP and the PROXY protocol as cores without I/O.

Knows RFC 5321 and its extensions: grammar of addresses, commands by state, replies. Takes bytes, gives events
and bytes. Must not know: sockets, clocks, asyncio, accounts, the store.
"""
