"""Processes: supervisor, workers, listeners, TLS certificates, reload, logging.

Starts and stops things; speaks no protocol itself.
"""
