"""Programs that we did not write send and read mail: swaks, curl, msmtp; curl, mbsync, fetchmail."""

import shutil
import subprocess
import uuid

import pytest


def program(name: str):
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def run(*argv: str, text: str | None = None, ok: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in ok, f"{argv[0]} ended with {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def mail(subject: str, recipient: str) -> str:
    return f"From: sender@elsewhere.test\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\nHello from {subject}\r\n"


@pytest.fixture
def subject():
    return f"test-{uuid.uuid4().hex}"


def arrived(server, subject: str, account: int = 0) -> bytes:
    """The one message with this subject."""
    found = [m for m in server.messages(account).values() if f"Subject: {subject}".encode() in m]
    assert len(found) == 1
    return found[0]


@program("swaks")
def test_swaks_sends_with_starttls(server, subject):
    run(
        *("swaks", "--server", f"127.0.0.1:{server.ports['smtp']}", "--tls"),
        *("--to", server.accounts[0][0], "--from", "sender@elsewhere.test", "--header", f"Subject: {subject}"),
    )
    assert b"with ESMTPS" in arrived(server, subject)


@program("swaks")
def test_swaks_speaks_lmtp(server, subject):
    run(
        *("swaks", "--protocol", "LMTP", "--server", f"127.0.0.1:{server.ports['lmtp']}"),
        *("--to", f"{server.accounts[0][0]},{server.accounts[1][0]}", "--header", f"Subject: {subject}"),
    )
    assert arrived(server, subject, 0)
    assert arrived(server, subject, 1)


@program("curl")
def test_curl_sends_and_curl_reads(server, subject, tmp_path):
    (tmp_path / "mail").write_text(mail(subject, server.accounts[0][0]))
    run(
        *("curl", "-sS", f"smtp://localhost:{server.ports['smtp']}/client.test", "--ssl-reqd"),
        *("--cacert", server.ready["ca"], "--mail-from", "sender@elsewhere.test"),
        *("--mail-rcpt", server.accounts[0][0], "-T", str(tmp_path / "mail")),
    )
    uid = max(server.messages())
    for url in (f"imaps://localhost:{server.ports['imaps']}", f"imap://localhost:{server.ports['imap']}"):
        out = run(
            *("curl", "-sS", f"{url}/INBOX;UID={uid}", "--ssl-reqd", "--cacert", server.ready["ca"]),
            *("-u", ":".join(server.accounts[0])),
        )
        assert f"Subject: {subject}" in out


@program("msmtp")
def test_msmtp_sends(server, subject, tmp_path):
    run(
        *("msmtp", "--host=localhost", f"--port={server.ports['smtp']}", "--tls=on", "--tls-starttls=on"),
        *(f"--tls-trust-file={server.ready['ca']}", "--from=sender@elsewhere.test", server.accounts[0][0]),
        text=mail(subject, server.accounts[0][0]),
    )
    assert arrived(server, subject)


@program("msmtp")
def test_a_stranger_cannot_relay(server):
    out = run(
        *("msmtp", "--host=localhost", f"--port={server.ports['smtp']}", "--tls=on", "--tls-starttls=on"),
        *(f"--tls-trust-file={server.ready['ca']}", "--from=sender@elsewhere.test", "victim@far.away.test"),
        text=mail("relay", "victim@far.away.test"),
        ok=(65, 67, 69, 77),
    )
    assert "550" in out


@program("mbsync")
def test_mbsync_mirrors_the_account(server, subject, tmp_path):
    with server.smtp() as client:
        client.sendmail("sender@elsewhere.test", server.accounts[1][0], mail(subject, server.accounts[1][0]))
    username, password = server.accounts[1]
    (tmp_path / "mail").mkdir()
    (tmp_path / "rc").write_text(f"""\
IMAPAccount pillarbox
Host localhost
Port {server.ports["imaps"]}
User {username}
Pass {password}
SSLType IMAPS
CertificateFile {server.ready["ca"]}

IMAPStore far
Account pillarbox

MaildirStore near
Path {tmp_path}/mail/
Inbox {tmp_path}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
SyncState *
Sync All
""")
    run("mbsync", "-c", str(tmp_path / "rc"), "-a")
    folders = {p.name for p in (tmp_path / "mail").iterdir() if p.is_dir()}
    assert {"INBOX", "Drafts", "Sent", "Archive", "Junk", "Trash"} <= folders
    copies = [p for p in (tmp_path / "mail" / "INBOX").glob("*/*") if subject in p.read_text(errors="replace")]
    assert len(copies) == 1
    # and back: a message that a client files locally is uploaded
    upload = tmp_path / "mail" / "Archive" / "cur" / "1.local:2,S"
    upload.write_text(f"Subject: up-{subject}\n\nfiled here\n")
    run("mbsync", "-c", str(tmp_path / "rc"), "-a")
    assert any(f"up-{subject}".encode() in m for m in server.messages(1, "Archive").values())


@program("fetchmail")
def test_fetchmail_takes_what_is_new(server, subject, tmp_path):
    with server.smtp() as client:
        client.sendmail("sender@elsewhere.test", server.accounts[1][0], mail(subject, server.accounts[1][0]))
    username, password = server.accounts[1]
    config = tmp_path / "fetchmailrc"
    config.write_text(
        f"poll localhost protocol IMAP service {server.ports['imaps']} username {username!r} password {password!r} "
        f"ssl sslcertfile {server.ready['ca']} keep mda 'cat >> {tmp_path}/got'\n".replace("'", '"')
    )
    config.chmod(0o600)
    run("fetchmail", "-f", str(config), "--idfile", str(tmp_path / "ids"), "--pidfile", str(tmp_path / "pid"), "-v")
    assert f"Subject: {subject}" in (tmp_path / "got").read_text(errors="replace")
