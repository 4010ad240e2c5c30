"""POP3: the server core, bytes in and events out (RFC 1939, 2449, 2595, 5034, 6856).

It knows the protocol and nothing of sockets, clocks, accounts or storage.
"""
