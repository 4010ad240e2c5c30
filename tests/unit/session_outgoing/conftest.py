"""Each test runs on the loop of the server and on the plain one, whose transports differ."""

import asyncio

import pytest
import uvloop

from scripted_peer import certificate


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """Path of a certificate for mx.example.org, and a server's context with it."""
    return certificate(tmp_path_factory.mktemp("tls"), "mx.example.org")
