"""The TLS of a worker follows a reload and the certificates that are registered in the store."""

import ssl
from types import SimpleNamespace

import pytest

from client_certificates import Authority, der_of
from pillarbox.server.securing import Securing
from pillarbox.store import client_certificates, directory, migrate, open_store
from tls_sessions import connect, goes_on

SETTINGS = SimpleNamespace(tls_min_version="1.2", exchanger_tls_min_version="1.2")
END = 1 << 40


@pytest.fixture
async def store(tmp_path):
    migrate(str(tmp_path / "smtp.db"))
    opened = await open_store(tmp_path / "smtp.db")
    yield opened
    await opened.close()


async def test_registered_certificates_come_and_go(store, tmp_path):
    pem = Authority(tmp_path, "Server").itself().read_bytes()
    ada = await store.write(directory.create_user, "ada", "ada@example.com", "h")
    own = Authority(tmp_path, "Own")
    securing = Securing()
    await securing.look(store)
    assert not securing.holder
    await securing.apply(SETTINGS, pem, b"")
    first = securing.holder.context
    assert first.verify_mode is ssl.CERT_NONE and first.registered == frozenset()
    await securing.look(store)
    assert securing.holder.context is first
    made = await store.write(client_certificates.add, ada.id, der_of(own.file), END)
    await securing.look(store)
    second = securing.holder.context
    assert second.verify_mode is ssl.CERT_OPTIONAL and second.registered == {made.fingerprint}
    assert securing.holder.exchanger.verify_mode is ssl.CERT_NONE  # other servers are not asked
    await securing.apply(SETTINGS, pem, own.file.read_bytes())  # a reload keeps them
    third = securing.holder.context
    assert third.registered == {made.fingerprint} and third.authorities == {der_of(own.file)}
    await store.write(client_certificates.remove, made.id)
    await securing.look(store)
    assert securing.holder.context.registered == frozenset()
    assert securing.holder.context.authorities is None
    await securing.apply(SETTINGS, b"", b"")
    assert not securing.holder


async def test_a_session_goes_on_at_another_worker_until_a_reload(store, tmp_path):
    pem, secret = Authority(tmp_path, "Server").itself().read_bytes(), b"s" * 64
    phone = der_of(Authority(tmp_path, "Phone").file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    one, other = Securing(), Securing()
    for worker in (one, other):
        await worker.apply(SETTINGS, pem, b"", secret)
    session, _ = connect(client, one.holder.context)
    assert goes_on(client, other.holder.context, session)
    ada = await store.write(directory.create_user, "ada", "ada@example.com", "h")
    await store.write(client_certificates.add, ada.id, phone, END)
    for worker in (one, other):
        await worker.look(store)
    assert not goes_on(client, one.holder.context, session)  # from now on clients are asked for a certificate
    session, _ = connect(client, one.holder.context)
    assert goes_on(client, other.holder.context, session)
    assert not goes_on(client, other.holder.exchanger, session)
    await other.apply(SETTINGS, pem, b"", b"t" * 64)
    assert not goes_on(client, other.holder.context, session)
