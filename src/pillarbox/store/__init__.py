"""The one place that talks SQL and keeps bytes.

Engines (SQLite, PostgreSQL), migrations, blobs, mailboxes, directory, queue. Functions over a transaction; imports no
protocol, only `mime` for what is computed once at delivery. Must not know: sessions, replies, settings' sources.
"""
