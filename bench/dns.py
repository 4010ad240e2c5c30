"""A resolver that knows nothing, at once: servers under test never wait for DNS.

Answers NXDOMAIN on 127.0.0.153:53; `*.bench.test` is 127.0.0.1 and every reverse name is `localhost`.
"""

import socket
import struct

ADDRESS = "127.0.0.153"


def answer(query: bytes) -> bytes | None:
    """The reply to one question, or None for what is no question."""
    if len(query) < 17:
        return None
    at, labels = 12, []
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].lower())
        at += query[at] + 1
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    name, records, code = b".".join(labels), b"", 3
    if name.endswith(b"bench.test"):
        code = 0
        if kind == 1:
            records = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 3600, 4) + b"\x7f\0\0\x01"
    elif name.endswith(b"in-addr.arpa"):
        code = 0
        if kind == 12:
            host = b"\x09localhost\0"
            records = b"\xc0\x0c" + struct.pack(">HHIH", 12, 1, 3600, len(host)) + host
    header = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, 1 if records else 0, 0, 0)
    return header + query[12 : at + 5] + records


def main() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((ADDRESS, 53))
    while True:
        query, peer = server.recvfrom(4096)
        reply = answer(query)
        if reply is not None:
            server.sendto(reply, peer)


if __name__ == "__main__":
    main()
