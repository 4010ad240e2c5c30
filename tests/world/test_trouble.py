"""A next hop that refuses, drops and drags at each step (`smtp-sink` with its options), a resolver that is gone."""

import subprocess
import time

import pytest

from world_server import arrived, within


def row(ours, recipient):
    return next((r for r in ours.queue() if r[0] == recipient), None)


@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("kind", ["-r", "-q", "-Q"], ids=["4xx", "drops", "421"])
def test_trouble_that_may_pass_is_waited_out(ours, sink, kind, stage):
    """The message waits in the queue, and arrives, once, when the trouble is over."""
    sink(kind, stage)
    recipient = f"{stage.strip('.') or 'END'}{kind.replace('-', '')}@sink.example"
    subject = ours.submit(recipient)
    within(20, lambda: (found := row(ours, recipient)) and found[1] == "retry" and found[2], f"{row(ours, recipient)}")
    assert subject not in str(ours.inbox())
    arrived(sink(), subject)
    within(10, lambda: row(ours, recipient) is None, "it stays in the queue")


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "."])
def test_a_refusal_for_good_comes_back(ours, sink, stage):
    sink("-f", stage)
    recipient = f"{stage.strip('.') or 'END'}-no@sink.example"
    ours.submit(recipient)
    assert "Action: failed" in ours.report_on(recipient).as_string()
    assert row(ours, recipient) is None


def test_a_slow_server_does_not_stall_others(ours, sink, postfix):
    slow = sink("-w", "2")  # seconds before each answer to DATA
    dragged = [ours.submit(f"slow{n}@sink.example") for n in range(3)]
    began = time.monotonic()
    arrived(postfix, ours.submit("u@postfix.example"))
    assert time.monotonic() - began < 10
    for subject in dragged:
        arrived(slow, subject, seconds=60)


def test_what_has_waited_goes_over_few_connections(ours, sink):
    subjects = [ours.submit(f"many{n}@sink.example") for n in range(20)]  # nobody listens there
    within(20, lambda: any("4.4.1" in r[2] for r in ours.queue()), "none was tried")
    assert len(ours.queue()) == 20
    peer = sink("-v")
    ours.run("pillarbox", "queue", "retry", "--domain", "sink.example")
    for subject in subjects:
        arrived(peer, subject, seconds=60)
    said = (peer.folder / "output").read_text()
    assert said.count("MAIL FROM") == 20
    assert 1 <= said.count("EHLO") <= 6


def test_the_resolver_is_down_and_comes_back(ours, sink, dns):
    peer = sink()
    dns.kill_unbound()
    dns.kill_nsd()
    try:
        subject = ours.submit("later@unheard-of.sink.example")
        within(30, lambda: (found := row(ours, "later@unheard-of.sink.example")) and found[1] == "retry", "no retry")
    finally:
        dns.start_nsd()
        dns.start_unbound()
    # The name does not exist: now that somebody says so, it comes back.
    assert "5.1.2" in ours.report_on("later@unheard-of.sink.example", seconds=60).as_string()
    assert subject.encode() not in b"".join(peer.taken())


def test_thirty_recipients_of_one_domain_are_one_transaction(ours, sink):
    peer = sink()
    recipients = ",".join(f"r{n}@sink.example" for n in range(30))
    message = arrived(peer, ours.submit(recipients))
    assert message.count(b"X-Rcpt-Args:") == 30


def test_swaks_sees_that_strangers_do_not_relay(ours):
    argv = ["swaks", "--server", "127.0.0.1:25", "--from", "x@strict.example", "--to", "u@postfix.example"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 24
    assert "550 5.7.1" in done.stdout or "554 5.7.1" in done.stdout
