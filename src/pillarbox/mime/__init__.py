"""The structure of a message, by byte offsets.

Knows RFC 5322, MIME (2045-2049, 2231, 2047) and how IMAP renders ENVELOPE and BODYSTRUCTURE. Takes bytes, gives
offsets, rendered bytes and text. Must not know: sockets, the store, accounts, any other room.
"""
