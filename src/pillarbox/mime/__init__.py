"""The structure of a message, by byte offsets.

Knows RFC 5322, MIME (2045-2049, 2231, 2047) and how IMAP renders ENVELOPE and BODYSTRUCTURE. Takes bytes, gives
offsets, rendered bytes and text. Must not know: sockets, the store, accounts, any other room.

`analysis` is the way in: `analyse(data)` or a `Scanner` that is fed, once a message, at delivery. What others read
later: `section.locate` (offsets of IMAP sections), `header` (fields), `text` (for searching), `transfer` (IMAP BINARY),
`address`, `date`, `subject`. Nothing here raises on input, and everything takes linear time in it.
"""
