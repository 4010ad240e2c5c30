"""The house is shared with other protocols; `make_house` makes one on each of the two engines."""

import pytest

from house import certificate, house

__all__ = ["certificate", "house"]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_house(request, house):
    if request.param == "sqlite":
        return house
    server = request.getfixturevalue("postgres_server")
    return lambda: house(database=server.new_schema())
