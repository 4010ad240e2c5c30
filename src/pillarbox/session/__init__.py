"""One file a protocol: drives a core on a transport, with deadlines, TLS, flow, access and the store.

Must not know: processes, where sockets come from.
"""
