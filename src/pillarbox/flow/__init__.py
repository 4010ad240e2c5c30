"""What happens to mail: receive, route, deliver, send (`sending`), report.

Turns an envelope and bytes into committed mailbox entries or queue rows, and says why. Must not know: sockets, replies'
spelling, SQL.
"""
