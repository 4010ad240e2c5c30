"""`sendmail`: takes a message on standard input and gives it to the server; when that is down, into its spool folder.

Exit 0 means that the message is safe: the server has it, or the folder has it on disk. Kept light, since scripts start
it for every message.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from pillarbox.cli.reader import while_read
from pillarbox.cli.sendmail_client import NotAllowed, Sent, Server, Unreachable
from pillarbox.cli.sendmail_message import DataError, Message, read_message
from pillarbox.cli.sendmail_options import Mode, Options, UsageError, parse_options
from pillarbox.config.locate_sendmail import LocalServer, local_server
from pillarbox.flow import maildrop

# sysexits(3)

USAGE = """Usage: sendmail [OPTION]... [RECIPIENT]...

Reads a message on standard input and sends it.

  -f ADDRESS, -r ADDRESS  the envelope's sender, "" for none (default: you at this host)
  -F NAME                 your name in a From field that is added
  -t                      recipients are in To, Cc and Bcc; Bcc is taken out
  -i, -oi                 a line of one dot does not end the message
  -N never|success,failure,delay   -R full|hdrs   -V ID     reports that are wanted (RFC 3461)
  -v                      show the conversation with the server
  -bs                     speak SMTP on standard input and output
  -bp                     show the queue (as mailq does)
  -q, -qIid               try all that waits in the queue, or one message, now

Other options of sendmail are taken and mean nothing. `--` ends the options. The exit status is one of sysexits(3):
64 usage, 65 message, 67 no such recipient, 69 refused, 74 input or output, 75 try again later, 77 not allowed."""


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return while_read(lambda: _answered(words))


def _answered(words: list[str]) -> int:
    if words == ["--help"]:
        print(USAGE)
        return os.EX_OK
    try:
        return _run(words)
    except UsageError as error:
        return _fail(os.EX_USAGE, f"{error}. `sendmail --help` tells more")
    except DataError as error:
        return _fail(os.EX_DATAERR, error)
    except NotAllowed as error:
        return _fail(os.EX_NOPERM, error)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(os.EX_IOERR, error)


def _run(words: list[str]) -> int:
    if os.path.basename(sys.argv[0]) == "newaliases":
        return _aliases()
    options = parse_options(words)
    if options.mode is Mode.SEND:
        return send(options, local_server())
    if options.mode is Mode.SMTP:
        from pillarbox.cli.sendmail_pipe import pipe

        return pipe(local_server().socket)
    if options.mode is Mode.ALIASES:
        return _aliases()
    from pillarbox.cli import mailq

    return mailq.flush(options.only) if options.mode is Mode.FLUSH else mailq.main([])


def _aliases() -> int:
    """-bi, newaliases: aliases are in the database and need no building."""
    print("aliases are in the database: `pillarbox alias` lists and changes them", file=sys.stderr)
    return os.EX_OK


def send(options: Options, place: LocalServer) -> int:
    """Read a message and hand it over."""
    with open(0, "rb", closefd=False) as stdin:  # standard input may be closed: an error as any other
        message = read_message(stdin, dots=options.dots)
    try:
        return _send(options, place, message)
    finally:
        message.body.close()


def _send(options: Options, place: LocalServer, message: Message) -> int:
    recipients = list(options.recipients) + (message.recipients() if options.from_header else [])
    if not recipients:
        raise UsageError("no recipients: name them, or give -t when the message does")
    if len(recipients) > maildrop.MAX_RECIPIENTS:
        raise UsageError(f"more than {maildrop.MAX_RECIPIENTS} recipients")
    _check(recipients)
    _check([options.sender or ""])
    try:
        server = Server(place.socket, os.uname().nodename, _show if options.verbose else None)
    except Unreachable as error:
        if options.verbose:
            _show(f"*** {error}")
        host = place.hostname or os.uname().nodename
        envelope = _prepare(options, message, host, recipients)
        return _leave(place, envelope, message, str(error))
    envelope = _prepare(options, message, server.hostname, recipients)
    asked = {"notify": envelope.notify, "ret": envelope.ret, "envid": envelope.envid}
    sent = server.send(envelope.sender, envelope.recipients, message.content, envelope.size, **asked)
    server.quit()
    if not sent.later:
        return _report(sent)
    left = _leave(place, envelope._replace(recipients=tuple(sent.later)), message, "the server puts it off")
    return left or _report(sent)


def _prepare(options: Options, message: Message, host: str, recipients: Sequence[str]) -> maildrop.Envelope:
    """Add what the message lacks; its envelope, every address with a domain."""
    import pwd
    import time

    try:
        entry = pwd.getpwuid(os.getuid())
        login, gecos = entry.pw_name, entry.pw_gecos.partition(",")[0].replace("&", entry.pw_name.capitalize())
    except KeyError:
        login, gecos = f"uid{os.getuid()}", ""
    own = f"{login}@{host}"
    sender = own if options.sender is None else _qualified(options.sender, host)
    name = options.full_name or os.environ.get("NAME", "") or gecos
    message.complete(sender or own, name, host, time.time())
    unique = dict.fromkeys(_qualified(recipient, host) for recipient in recipients)
    return maildrop.Envelope(sender, tuple(unique), message.size, options.notify, options.ret, options.envid)


def _qualified(address: str, host: str) -> str:
    return address if not address or "@" in address else f"{address}@{host}"


def _check(addresses: Sequence[str]) -> None:
    """What cannot stand in a command line of SMTP is no address; the server judges the rest."""
    for address in addresses:
        if any(not char.isprintable() or "\ud800" <= char <= "\udfff" for char in address) or len(address) > 1000:
            raise UsageError(f"no address: {address[:80]!a}")
        if address[:1] == "-" or any(char in "<>" for char in address.rpartition('"')[2]):
            raise UsageError(f"no address: {address[:80]}")


def _leave(place: LocalServer, envelope: maildrop.Envelope, message: Message, why: str) -> int:
    """Into the spool folder: the server takes it from there when it is back."""
    try:
        maildrop.leave(place.folder, envelope, message.content())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        print(f"sendmail: {why}; nor can it be kept in {place.folder}: {reason}. Nothing was sent", file=sys.stderr)
        return os.EX_TEMPFAIL
    return os.EX_OK


def _report(sent: Sent) -> int:
    """Say what was refused; the exit status for the first of it."""
    for refusal in sent.refused:
        whom = f"{refusal.recipient}: " if refusal.recipient else ""
        print(f"sendmail: {whom}{refusal.answer}", file=sys.stderr)
    if not sent.refused:
        return os.EX_OK
    enhanced, code = sent.refused[0].answer.enhanced, sent.refused[0].answer.code
    if enhanced.startswith(("5.1.3", "5.1.7", "5.6.", "5.3.4", "5.2.3")) or code in (501, 553):
        return os.EX_DATAERR
    if enhanced.startswith("5.1."):
        return os.EX_NOUSER
    return os.EX_NOPERM if enhanced.startswith("5.7.") else os.EX_UNAVAILABLE


def _show(line: str) -> None:
    with suppress(OSError):  # nobody looks any more: the message goes its way all the same
        print(line, file=sys.stderr, flush=True)


def _fail(status: int, text: object) -> int:
    print(f"sendmail: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
