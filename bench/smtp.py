"""Accepting mail, side by side: Postfix's `smtp-source` against each server, in the same run, in turns.

    python bench/smtp.py --rounds 7

A message counts when it is in the mailbox, not when it is queued. CPU is that of the whole server side, all processes.
Rounds of the servers alternate, since a shared machine's speed swings within seconds, and the table gives medians and
the ratios to Postfix+Dovecot of the same run. Needs root (cgroups, mount namespaces) and Debian's postfix,
dovecot-core, dovecot-imapd and dovecot-lmtpd.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from servers import Dns, Pillarbox, Postfix, PostfixDovecot, Server, prepare

SIZES = {"1K": 1024, "10K": 10 * 1024, "100K": 100 * 1024}
SESSIONS = (1, 10, 50)
MODES = {"one": [], "many": ["-d"]}  # -d: smtp-source keeps the connection for the next message


@dataclass
class Round:
    """One server, one kind of load, once. `rate` in messages a second, `cpu` in seconds per thousand messages."""

    server: str
    size: str
    sessions: int
    mode: str
    messages: int
    seconds: float
    rate: float
    cpu: float


def measure(server: Server, size: str, sessions: int, mode: str, messages: int) -> Round:
    """Send `messages` and wait until all are in the mailbox. Raises TimeoutError when some never come.

    They are taken out at the end, before another server is measured: nothing is left to do for a search index.
    """
    before = server.delivered()
    cpu = server.cpu()
    argv = ["smtp-source", *MODES[mode], "-s", str(sessions), "-m", str(messages), "-l", str(SIZES[size])]
    argv += ["-f", "bench@sender.test", "-t", server.recipient, f"127.0.0.1:{server.port}"]
    start = time.monotonic()
    subprocess.run(argv, check=True, timeout=300)
    while server.delivered() - before < messages:
        if time.monotonic() - start > 300:
            raise TimeoutError(f"{server.name}: {server.delivered() - before} of {messages} arrived")
        time.sleep(0.01)
    seconds = time.monotonic() - start
    cpu = server.cpu() - cpu
    server.empty()
    return Round(server.name, size, sessions, mode, messages, seconds, messages / seconds, cpu / messages * 1000)


def messages_for(server: Server, size: str, sessions: int) -> int:
    """Enough for about a second of this server's work, so that a round is more than its start."""
    if isinstance(server, Pillarbox):
        return {"1K": 2000, "10K": 2000, "100K": 800}[size] // (2 if sessions == 1 else 1)
    return 400 if sessions > 1 else 200


def table(rounds: list[Round]) -> str:
    """Medians of all rounds as a Markdown table, with the ratios to Postfix+Dovecot."""
    cells: dict[tuple[str, int, str], dict[str, tuple[float, float]]] = {}
    for key, group in itertools.groupby(
        sorted(rounds, key=lambda r: (r.size, r.sessions, r.mode, r.server)),
        key=lambda r: (r.size, r.sessions, r.mode, r.server),
    ):
        rows = list(group)
        medians = median(r.rate for r in rows), median(r.cpu for r in rows)
        cells.setdefault(key[:3], {})[key[3]] = medians
    lines = [
        "| size | sessions | messages a connection | Postfix msg/s (CPU s/1000) | Postfix+Dovecot | Pillarbox "
        "| rate to Postfix | rate to P+D | CPU to P+D |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = sorted(cells, key=lambda k: (list(SIZES).index(k[0]), k[1], k[2] == "many"))
    for key in order:
        row = cells[key]
        if len(row) < 3:
            continue
        postfix, dovecot, ours = row["postfix"], row["postfix-dovecot"], row["pillarbox"]
        shown = [f"{rate:.0f} ({cpu:.2f})" for rate, cpu in (postfix, dovecot, ours)]
        ratios = [ours[0] / postfix[0], ours[0] / dovecot[0], ours[1] / dovecot[1]]
        lines.append(
            f"| {key[0]} | {key[1]} | {key[2]} | {' | '.join(shown)} "
            f"| {ratios[0]:.1f} | {ratios[1]:.1f} | {ratios[2]:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("pillarbox", "all"), default="all")
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--sessions", nargs="*", type=int, default=list(SESSIONS))
    parser.add_argument("--json", type=Path, help="write every round there too")
    options = parser.parse_args()
    prepare()
    servers: list[Server] = [Pillarbox()]
    if options.only == "all":
        servers = [Postfix("postfix", 10025), PostfixDovecot("postfix-dovecot", 10026, 10024, 10143), *servers]
    dns, started, rounds = Dns(), [], []
    dns.start()
    try:
        for server in servers:
            started.append(server)
            server.start()
        for number in range(options.rounds):
            for size, sessions, mode in itertools.product(options.sizes, options.sessions, MODES):
                for server in servers:
                    done = measure(server, size, sessions, mode, messages_for(server, size, sessions))
                    rounds.append(done)
                    print(
                        f"{number + 1}/{options.rounds} {server.name:16} {size:>4} x{sessions:<2} {mode:4} "
                        f"{done.rate:7.0f} msg/s  {done.cpu:6.2f} CPU s/1000",
                        flush=True,
                    )
    finally:
        for server in started:
            server.stop()
        dns.stop()
        if options.json:
            options.json.write_text(json.dumps([asdict(r) for r in rounds]))
    print(table(rounds))


if __name__ == "__main__":
    main()
