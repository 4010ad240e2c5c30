"""The way out: the queue's rows are taken, sent through a carrier's lanes, settled and reported.

`scheduler` leases destinations and gives each to a `run`, which takes its rows in batches, makes parcels of them
(`batch`), sends them through as many lanes as do well (`pace`) and settles what came of it (`settle`), with reports.
Must not know: sockets, SMTP, SQL.
"""
