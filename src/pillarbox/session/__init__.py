"""Drives a protocol's core on a transport, with deadlines, TLS, flow, access and the store. Files are named by their
protocol: `imap_*`, `pop3*`, `smtp*`, and `outgoing*` for SMTP with other servers.

Must not know: processes, where sockets come from.
"""
