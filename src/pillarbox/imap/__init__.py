"""IMAP4rev1 and IMAP4rev2 as a core without I/O.

Knows the grammar (RFC 3501, RFC 9051 and the extensions in `extensions`), which command is legal in which state,
and how responses are written. Must not know: sockets, clocks, asyncio, the store, who the user is.
"""
