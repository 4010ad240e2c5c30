"""Programs that we did not write submit mail: swaks, msmtp, curl, Python's smtplib, with every mechanism they know."""

import imaplib
import json
import shutil
import smtplib
import ssl
import subprocess
import sys
import time
import uuid
from base64 import b64decode, b64encode

import pytest

from pillarbox.access.channel_binding import server_end_point
from scram_client import ScramClient


def program(name):
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def run(*argv, text=None, ok=(0,)):
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in ok, f"{argv[0]} ended with {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def pillarbox(server, *argv):
    out = run(*(sys.executable, "-m", "pillarbox.cli.pillarbox", *argv, "--db", str(server.data / "smtp.db"), "--json"))
    return json.loads(out)


@pytest.fixture
def subject():
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def token(server):
    return pillarbox(server, "token", "create", server.accounts[0][0])["token"]


def mail(server, subject, sender=None):
    (ada, _), (bob, _) = server.accounts
    return f"From: {sender or ada}\r\nTo: {bob}\r\nBcc: hidden@example.test\r\nSubject: {subject}\r\n\r\nHello\r\n"


def arrived(server, subject):
    """The one message with this subject, as the second account has it."""
    found = [m for m in server.messages(1).values() if f"Subject: {subject}".encode() in m]
    assert len(found) == 1
    assert b"with ESMTPSA" in found[0]
    assert b"Bcc:" not in found[0] and b"127.0.0.1" not in found[0]
    assert b"\r\nmessage-id: <" in found[0].lower() and b"\r\nDate: " in found[0]
    return found[0]


def test_the_ready_line_names_both_ports(server):
    assert {"submission", "submissions"} <= server.ports.keys()


@program("msmtp")
@pytest.mark.parametrize("mechanism", ["on", "plain", "login", "scram-sha-256", "oauthbearer", "xoauth2"])
def test_msmtp(server, subject, token, mechanism):
    ada, password = server.accounts[0]
    starttls = mechanism != "plain"  # so that both ports are spoken to
    port = server.ports["submission" if starttls else "submissions"]
    secret = token if mechanism in ("oauthbearer", "xoauth2") else password
    run(
        *("msmtp", "--host=localhost", f"--port={port}", "--tls=on", f"--tls-starttls={'on' if starttls else 'off'}"),
        *(f"--tls-trust-file={server.ready['ca']}", f"--auth={mechanism}", f"--user={ada}"),
        *(f"--passwordeval=echo {secret}", f"--from={ada}", server.accounts[1][0]),
        text=mail(server, subject),
    )
    assert arrived(server, subject)


@program("curl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"])
def test_curl(server, subject, token, tmp_path, mechanism):
    ada, password = server.accounts[0]
    (tmp_path / "mail").write_text(mail(server, subject))
    bearer = mechanism in ("OAUTHBEARER", "XOAUTH2")
    run(
        *("curl", "-sS", f"smtps://localhost:{server.ports['submissions']}/client.test"),
        *("--cacert", server.ready["ca"], "--login-options", f"AUTH={mechanism}"),
        *(("--oauth2-bearer", token, "-u", f"{ada}:") if bearer else ("-u", f"{ada}:{password}")),
        *("--mail-from", ada, "--mail-rcpt", server.accounts[1][0], "-T", str(tmp_path / "mail")),
    )
    assert arrived(server, subject)
    if bearer:  # the same token reads it
        run(
            *("curl", "-sS", f"imaps://localhost:{server.ports['imaps']}/INBOX;MAILINDEX=*"),
            *("--cacert", server.ready["ca"], "--login-options", f"AUTH={mechanism}"),
            *("--oauth2-bearer", token, "-u", f"{ada}:"),
            ok=(0, 78),
        )


@program("curl")
def test_a_revoked_token_is_refused(server, tmp_path):
    ada = server.accounts[0][0]
    made = pillarbox(server, "token", "create", ada)
    pillarbox(server, "token", "revoke", str(made["id"]))
    (tmp_path / "mail").write_text(mail(server, "never"))
    out = run(
        *("curl", "-sS", f"smtps://localhost:{server.ports['submissions']}/client.test"),
        *("--cacert", server.ready["ca"], "--login-options", "AUTH=OAUTHBEARER", "--oauth2-bearer", made["token"]),
        *("-u", f"{ada}:", "--mail-from", ada, "--mail-rcpt", ada, "-T", str(tmp_path / "mail")),
        ok=(67,),
    )
    assert "Login denied" in out


@program("swaks")
def test_swaks(server, subject):
    (ada, password), (bob, _) = server.accounts
    options = ("swaks", "--tls", "--server", f"localhost:{server.ports['submission']}", "--to", bob)
    login = ("--auth-user", ada, "--auth-password", password)
    run(*options, *login, "--auth", "PLAIN", "--from", ada, "--header", f"Subject: {subject}")
    assert arrived(server, subject)
    assert "530 5.7.0 Authentication required" in run(*options, "--from", ada, ok=(23,))
    refused = run(*options, *login, "--auth", "LOGIN", "--from", bob, ok=(23,))
    assert f"553 5.7.1 <{bob}> is not an address of {ada}" in refused
    assert "530 5.7.0" in run("swaks", *options[2:], "--from", ada, ok=(23,))


def test_smtplib(server, subject):
    ada, password = server.accounts[0]
    with smtplib.SMTP_SSL("localhost", server.ports["submissions"], timeout=30, context=server.tls()) as client:
        client.login(ada, password)
        client.sendmail(ada, [server.accounts[1][0]], mail(server, subject))
        with pytest.raises(smtplib.SMTPDataError, match="From or Sender"):
            client.sendmail(ada, [server.accounts[1][0]], mail(server, subject, "eve@elsewhere.test"))
    assert arrived(server, subject)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-unique"])
def test_scram_is_bound_to_the_tls_connection(server, version, kind):
    name, password = server.accounts[0]
    context = server.tls()
    context.maximum_version = version
    with smtplib.SMTP("localhost", server.ports["submission"], timeout=30) as client:
        client.starttls(context=context)
        client.ehlo()
        assert client.esmtp_features["auth"].split()[:2] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
        binding = b"none"
        if kind == "tls-server-end-point":
            binding = server_end_point(client.sock.getpeercert(binary_form=True))
        elif version is ssl.TLSVersion.TLSv1_2:
            binding = client.sock.get_channel_binding("tls-unique")
        scram = ScramClient(password, name, header=f"p={kind},,", binding=binding)
        code, challenge = client.docmd("AUTH", f"SCRAM-SHA-256-PLUS {b64encode(scram.first()).decode()}")
        if kind == "tls-unique" and version is ssl.TLSVersion.TLSv1_3:
            assert code == 535, "it is not defined there"
            return
        code, proof = client.docmd(b64encode(scram.final(b64decode(challenge))).decode())
        assert (code, b64decode(proof)) == (334, b"v=" + b64encode(scram.server_proof))
        assert client.docmd("")[0] == 235


def test_a_message_is_released_when_it_was_asked_for(server, subject):
    ada, password = server.accounts[0]
    with smtplib.SMTP_SSL("localhost", server.ports["submissions"], timeout=30, context=server.tls()) as client:
        client.login(ada, password)
        begun = time.monotonic()
        client.sendmail(ada, [server.accounts[1][0]], mail(server, subject), mail_options=["HOLDFOR=2"])
    while not any(subject.encode() in message for message in server.messages(1).values()):
        assert time.monotonic() - begun < 30
        time.sleep(0.1)
    assert time.monotonic() - begun > 1
    assert arrived(server, subject)


def test_scram_in_imap(server):
    name, password = server.accounts[0]
    client = imaplib.IMAP4_SSL("localhost", server.ports["imaps"], ssl_context=server.tls(), timeout=30)
    assert "AUTH=SCRAM-SHA-256-PLUS" in client.capabilities
    binding = server_end_point(client.sock.getpeercert(binary_form=True))
    scram = ScramClient(password, name, header="p=tls-server-end-point,,", binding=binding)
    said = iter([lambda _: scram.first(), scram.final, lambda _: b""])
    assert client.authenticate("SCRAM-SHA-256-PLUS", lambda challenge: next(said)(challenge))[0] == "OK"
    client.logout()


def test_an_account_is_held_and_released_while_the_server_runs(server):
    bob, password = server.accounts[1]
    assert pillarbox(server, "user", "hold", bob, "--reason", "a test")["username"] == bob
    with smtplib.SMTP_SSL("localhost", server.ports["submissions"], timeout=30, context=server.tls()) as client:
        client.login(bob, password)
        code, text = client.docmd(f"MAIL FROM:<{bob}>")
        assert code == 450 and b"cannot send mail for now (a test)" in text
        pillarbox(server, "user", "release", bob)
        assert client.docmd(f"MAIL FROM:<{bob}>")[0] == 250
