"""What an operator does to the queue of a running server, by command and by HTTP, and what the server makes of it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from running import Running

# Nobody answers there: every try is put off, the next one is minutes away.
NO_DNS = ("--set", "SMTP_DNS_SERVERS=127.0.0.1@9", "--set", "SMTP_DNS_TIMEOUT_SECONDS=1")


class Operator:
    def __init__(self, running):
        self.running = running
        self.env = {**os.environ, "SMTP_DB_PATH": str(running.data / "smtp.db"), "SMTP_HOSTNAME": "mail.example.test"}

    def pillarbox(self, *words, status=0):
        argv = [sys.executable, "-m", "pillarbox.cli.pillarbox", *words]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.env, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout

    def send(self, *recipients, sender="ada@example.test"):
        argv = [sys.executable, "-m", "pillarbox.cli.sendmail", "-f", sender, *recipients]
        subprocess.run(argv, input=b"Subject: away\n\nhello\n", env=self.env, timeout=60, check=True)

    def rows(self):
        return json.loads(self.pillarbox("queue", "list", "--json"))

    def until(self, what, seconds=20):
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, self.running.log.read_text()[-3000:]
            time.sleep(0.1)
        return found

    def tried(self, times):
        return self.until(lambda: (rows := self.rows()) and all(row["attempts"] >= times for row in rows) and rows)

    def http(self, method, path, token=None):
        url = f"http://127.0.0.1:{self.running.ports['api']}{path}"
        headers = {"X-CSRF-Token": token} if token else {}
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture
def operator(tmp_path):
    running = Running(tmp_path / "data", *NO_DNS).start()
    yield Operator(running)
    if running.process.poll() is None:
        running.stop()
    running.check()


def test_retry_wakes_the_running_server(operator):
    operator.send("x@elsewhere.test")
    (row,) = operator.tried(1)
    assert row["status"] == "retry" and row["next_retry_at"] > time.time() + 60
    begun = time.monotonic()
    assert operator.pillarbox("queue", "retry", "--all") == "1 entry due now\n"
    operator.tried(2)
    assert time.monotonic() - begun < 15
    token = operator.http("GET", "/api/csrf-token")[1]["token"]
    status, answer = operator.http("POST", f"/api/queue/{row['id']}/retry", token)
    assert (status, answer["success"]) == (200, True)
    operator.tried(3)
    told = operator.pillarbox("trace", str(row["id"]))
    assert told.count("not yet sent to x@elsewhere.test") == 3 and told.count("retried for x@elsewhere.test") == 2
    assert "by api" in told and "in the queue as entry" in told


def test_held_mail_stays_and_released_mail_goes_on(operator):
    operator.send("x@elsewhere.test")
    operator.tried(1)
    operator.pillarbox("queue", "hold", "--domain", "elsewhere.test")
    status, queue = operator.http("GET", "/api/queue?status=held")
    assert status == 200 and queue["held"] == queue["queue_size"] == len(queue["messages"]) == 1
    operator.pillarbox("queue", "retry", "--all")
    assert operator.rows()[0]["status"] == "held"
    operator.pillarbox("queue", "release", "--all")
    operator.tried(2)


def test_bounce_while_the_server_runs(operator):
    operator.send("x@elsewhere.test", "y@elsewhere.test")
    operator.tried(1)
    assert operator.pillarbox("queue", "bounce", "--sender", "ada@example.test") == "2 entries returned\n"
    assert operator.rows() == []
    (mail,) = operator.running.messages().values()
    assert b"x@elsewhere.test" in mail and b"y@elsewhere.test" in mail and b"Returned by the administrator" in mail


def test_bounce_and_delete_while_it_does_not(operator):
    operator.send("x@elsewhere.test")
    operator.send("y@elsewhere.test")
    operator.tried(1)
    operator.running.stop()
    operator.pillarbox("queue", "bounce", str(operator.rows()[0]["id"]))
    operator.pillarbox("queue", "delete", "--recipient", "y@elsewhere.test")
    assert operator.rows() == []
    operator.running.start()
    (mail,) = operator.running.messages().values()
    assert b"x@elsewhere.test" in mail and b"y@elsewhere.test" not in mail


def test_the_runbooks_look_at_the_queue(operator):
    operator.send("x@elsewhere.test")
    curl = f"curl -s 127.0.0.1:{operator.running.ports['api']}/api/queue"
    done = subprocess.run(["/bin/sh", "-c", curl], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout)["queue_size"] == 1
    purge = "DELETE FROM message_queue WHERE created_at < strftime('%s','now','+1 days');"
    subprocess.run(["sqlite3", operator.running.data / "smtp.db", purge], check=True, timeout=30)
    assert operator.http("GET", "/api/queue")[1]["queue_size"] == 0
    assert operator.pillarbox("queue", "mailq") == "Mail queue is empty\n"
