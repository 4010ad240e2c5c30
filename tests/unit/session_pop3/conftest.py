"""The house is shared with other protocols."""

from house import certificate, house

__all__ = ["certificate", "house"]
