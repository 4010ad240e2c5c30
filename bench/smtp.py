"""Accepting mail, side by side: Postfix's `smtp-source` against each server, in the same run, in turns.

    python bench/smtp.py --rounds 7

A message counts when it is in the mailbox, not when it is queued. CPU is that of the whole server side, all processes.
Rounds of the servers alternate, since a shared machine's speed swings within seconds, and the table gives medians and
the ratios to Postfix+Dovecot of the same run. Needs root (cgroups, mount namespaces) and Debian's postfix,
dovecot-core, dovecot-imapd and dovecot-lmtpd.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack

from rounds import SIZES, Round, arguments, play, table
from servers import Dns, Pillarbox, Postfix, PostfixDovecot, Server, prepare

KEPT = {"one": [], "many": ["-d"]}  # -d: smtp-source keeps the connection for the next message
COLUMNS = {
    "Postfix msg/s (CPU s/1000)": lambda m: str(m["postfix"]),
    "Postfix+Dovecot": lambda m: str(m["postfix-dovecot"]),
    "Pillarbox": lambda m: str(m["pillarbox"]),
    "rate to Postfix": lambda m: f"{m['pillarbox'].rate / m['postfix'].rate:.1f}",
    "rate to P+D": lambda m: f"{m['pillarbox'].rate / m['postfix-dovecot'].rate:.1f}",
    "CPU to P+D": lambda m: f"{m['pillarbox'].cpu / m['postfix-dovecot'].cpu:.2f}",
}


def measure(server: Server, size: str, sessions: int, mode: str) -> Round:
    """Send messages and wait until all are in the mailbox. Raises TimeoutError when some never come.

    They are taken out at the end, before another server is measured: nothing is left to do for a search index.
    """
    messages = messages_for(server, size, sessions)
    before, cpu, load = server.delivered(), server.cpu(), os.times()
    argv = ["smtp-source", *KEPT[mode], "-s", str(sessions), "-m", str(messages), "-l", str(SIZES[size])]
    argv += ["-f", "bench@sender.test", "-t", server.recipient, f"127.0.0.1:{server.port}"]
    start = time.monotonic()
    subprocess.run(argv, check=True, timeout=300)
    ended = os.times()
    while server.delivered() - before < messages:
        if time.monotonic() - start > 300:
            raise TimeoutError(f"{server.name}: {server.delivered() - before} of {messages} arrived")
        time.sleep(0.01)
    rate = messages / (time.monotonic() - start)
    cpu = server.cpu() - cpu
    server.empty()
    sending = ended.children_user + ended.children_system - load.children_user - load.children_system
    return Round(server.name, size, sessions, mode, messages, rate, cpu / messages * 1000, sending / messages * 1000)


def messages_for(server: Server, size: str, sessions: int) -> int:
    """Enough for about a second of this server's work, so that a round is more than its start."""
    if isinstance(server, Pillarbox):
        return {"1K": 2000, "10K": 2000, "100K": 800}[size] // (2 if sessions == 1 else 1)
    return 400 if sessions > 1 else 200


def main() -> None:
    parser = arguments()
    parser.add_argument("--only", choices=("pillarbox", "all"), default="all")
    options = parser.parse_args()
    prepare()
    servers: list[Server] = [Pillarbox()]
    if options.only == "all":
        servers = [Postfix("postfix", 10025), PostfixDovecot("postfix-dovecot", 10026, 10024, 10143), *servers]
    with ExitStack() as running:
        programs: list[Dns | Server] = [Dns(), *servers]
        for program in programs:
            running.callback(program.stop)
            program.start()
        rounds = play(servers, options, measure)
    print(table(rounds, COLUMNS))


if __name__ == "__main__":
    main()
