"""Every setting there is, in the order in which the documentation shows them.

The ranges and the defaults of the four profiles (development, testing, staging, production) are the
operators' contract; `docs/configuration.md` and the attributes of `Settings` are kept equal to this
table by tests.
"""

from __future__ import annotations

from ipaddress import ip_network

from pillarbox.config.kinds import (
    Duration,
    Networks,
    address,
    boolean,
    choice,
    domains,
    duration,
    durations,
    hostname,
    integer,
    networks,
    optional_port,
    path,
    percentages,
    port,
    servers,
    text,
    url,
)
from pillarbox.config.setting import PROFILE_ALIASES, PROFILES, Setting

MIB, GIB = 1 << 20, 1 << 30

_LOOPBACK = Networks((ip_network("127.0.0.0/8"), ip_network("::1")))

# Two or three lines a row read better than ten.
# fmt: off
_SERVER = (
    Setting("SMTP_PROFILE", "server.profile", choice(*PROFILES, aliases=PROFILE_ALIASES), "development",
            "The set of defaults that everything else starts from.", "InvalidProfile", reload="restart"),
    Setting("SMTP_CONFIG_FILE", "server.config_file", path(), None,
            "A TOML file with settings. It must exist when it is named; without it /etc/smtp-server/config.toml "
            "is read if it is there.", "InvalidConfigFile", reload="restart"),
    Setting("SMTP_HOST", "server.host", address(), "0.0.0.0",
            "The address the mail listeners bind. `::` takes IPv4 too.", "InvalidHost", reload="workers"),
    Setting("SMTP_PORT", "server.port", port(), (2525, 0, 25, 25),
            "The port of SMTP from other servers (the port-25 role).", "InvalidPort", reload="workers"),
    Setting("SMTP_HOSTNAME", "server.hostname", hostname(), "localhost",
            "The name of this server in the banner, in EHLO and in trace fields; other servers look it up.",
            "InvalidHostname"),
    Setting("SMTP_MAX_CONNECTIONS", "server.max_connections", integer(1, 100_000), (100, 10, 500, 2000),
            "Connections of all protocols and workers together; one more is answered 421.", "InvalidMaxConnections"),
    Setting("SMTP_CONNECTIONS_PER_IP", "server.connections_per_ip", integer(1, 100_000), (50, 10, 50, 50),
            "Connections from one address, of all protocols and workers together.", "InvalidMaxConnections"),
    Setting("SMTP_MAX_MESSAGE_SIZE", "server.max_message_size", integer(1024, 100 * MIB, "bytes"),
            (10 * MIB, MIB, 25 * MIB, 25 * MIB), "The largest message taken; announced by SIZE and APPENDLIMIT.",
            "InvalidMaxMessageSize"),
    Setting("SMTP_MAX_RECIPIENTS", "server.max_recipients", integer(1, 10_000), (100, 10, 100, 100),
            "Recipients of one message; one more is answered 452.", "InvalidMaxRecipients"),
    Setting("SMTP_WORKER_THREADS", "server.worker_threads", integer(1, 256), (2, 1, 4, 8),
            "Worker processes; never more than the machine has CPUs.", "InvalidWorkerThreads", reload="workers"),
    Setting("SMTP_WORKER_CORES", "server.worker_cores", choice("shared", "own"), "shared",
            "`own` keeps each worker to a core, where there are as many workers as cores: faster on a machine that "
            "does nothing else, slower where other programs keep a core busy.", "InvalidWorkerCores",
            reload="workers"),
    Setting("SMTP_MEMORY_BUDGET", "server.memory_budget", integer(MIB, 64 * GIB, "bytes"),
            (64 * MIB, 16 * MIB, 64 * MIB, 64 * MIB),
            "Bytes of messages in transfer that one worker holds in memory; over it the answer is 452.",
            "InvalidMemoryBudget"),
    Setting("SMTP_DISK_RESERVE", "server.disk_reserve", integer(0, 1024 * GIB, "bytes"),
            (256 * MIB, 16 * MIB, 256 * MIB, 256 * MIB),
            "With less than this left on the disk of the database new mail is answered 452.", "InvalidDiskReserve"),
    Setting("SMTP_RUNTIME_DIR", "server.runtime_dir", path(), None,
            "A folder the server may write: self-made certificates, sockets between workers. Without it the "
            "folder of the database.", "InvalidRuntimeDir", reload="restart"),
    Setting("SMTP_PROXY_NETWORKS", "server.proxy_networks", networks(), (),
            "Proxies in front of this server. A connection from one of them must begin with a PROXY protocol "
            "header (v1 or v2), and the address in it is the client's.", "InvalidNetworks"),
    Setting("SMTP_TRUST_LOOPBACK", "server.trust_loopback", boolean(), False,
            "Loopback is exempt from rate and per-address limits. Not behind a proxy that hides the clients' "
            "addresses.", "InvalidBoolean"),
    Setting("SMTP_ACCEPT_ALL", "server.accept_all", boolean(), False,
            "The developer's test inbox: any recipient is accepted and gets a mailbox.", "InvalidBoolean"),
    Setting("SMTP_MAINTENANCE", "server.maintenance", boolean(), False,
            "New SMTP and LMTP connections are answered 421, so that other servers come back later. The file "
            "`maintenance` in SMTP_RUNTIME_DIR does the same within a second, without a reload, until it is removed.",
            "InvalidBoolean"),
    Setting("SMTP_USER", "server.user", text(), None,
            "The account that the workers become when the server is started as root. Without it they stay root.",
            "InvalidUser", reload="restart"),
)

_LISTENERS = (
    Setting("SMTP_IMAP_PORT", "listeners.imap_port", optional_port(), None, "IMAP with STARTTLS (143 by convention).",
            "InvalidPort", reload="workers"),
    Setting("SMTP_IMAPS_PORT", "listeners.imaps_port", optional_port(), None,
            "IMAP over TLS from the first byte (993 by convention).", "InvalidPort", reload="workers"),
    Setting("SMTP_POP3_PORT", "listeners.pop3_port", optional_port(), None, "POP3 with STLS (110 by convention).",
            "InvalidPort", reload="workers"),
    Setting("SMTP_POP3S_PORT", "listeners.pop3s_port", optional_port(), None,
            "POP3 over TLS from the first byte (995 by convention).", "InvalidPort", reload="workers"),
    Setting("SMTP_POP3_EXCLUSIVE", "listeners.pop3_exclusive", boolean(), False,
            "One POP3 session at a time may have an account's maildrop open, as RFC 1939 has it; without it several "
            "may, as in IMAP.", "InvalidBoolean"),
    Setting("SMTP_IMAP_SAVE_LIMIT", "listeners.imap_save_limit", integer(1000, 1_000_000, "messages"), 100_000,
            "Messages that one COPY or one APPEND of IMAP may store; told to clients as SAVELIMIT (RFC 9738).",
            "InvalidImapSaveLimit"),
    Setting("SMTP_IMAP_UNAUTHENTICATE", "listeners.imap_unauthenticate", boolean(), True,
            "An IMAP connection may log out and in again as another account (UNAUTHENTICATE, RFC 8437). Turn it off "
            "behind a proxy that decides by the login who may come through.", "InvalidBoolean"),
    Setting("SMTP_LMTP_PORT", "listeners.lmtp_port", optional_port(), None,
            "LMTP, on 127.0.0.1 only: who reaches it may deliver to any mailbox.", "InvalidPort", reload="workers"),
    Setting("SMTP_LMTP_SOCKET", "listeners.lmtp_socket", path(), None, "LMTP on a Unix socket at this path.",
            "InvalidPath", reload="workers"),
    Setting("SMTP_SENDMAIL_SOCKET", "listeners.sendmail_socket", path(), None,
            "The Unix socket that `sendmail` talks to; any user of this machine may open it. Without it "
            "`sendmail.sock` in SMTP_RUNTIME_DIR.", "InvalidPath", reload="restart"),
    Setting("SMTP_SENDMAIL_USERS", "listeners.sendmail_users", text(), "*",
            "Who of this machine may send by `sendmail`: `*`, `none`, or names, numbers and @groups separated by "
            "commas. They may send anywhere and in any name.", "InvalidUser", reload="workers"),
    Setting("SMTP_API_PORT", "listeners.api_port", optional_port(), 8080, "The management API.", "InvalidPort",
            reload="workers"),
    Setting("SMTP_HEALTH_PORT", "listeners.health_port", optional_port(), 8081, "/health, /stats and /metrics.",
            "InvalidPort", reload="workers", aliases=("SMTP_METRICS_PORT",)),
    Setting("SMTP_HTTP_HOST", "listeners.http_host", address(), "127.0.0.1",
            "The address that the API and health ports bind.", "InvalidHost", reload="workers"),
    Setting("SMTP_SUBMISSION_PORT", "listeners.submission_port", optional_port(), None,
            "Submission with STARTTLS (587 by convention): accounts log in and send.", "InvalidPort",
            reload="workers"),
    Setting("SMTP_SMTPS_PORT", "listeners.smtps_port", optional_port(), None,
            "Submission over TLS from the first byte (465 by convention).", "InvalidPort", reload="workers"),
)

_TIMEOUTS = (
    Setting("SMTP_TIMEOUT_SECONDS", "timeouts.connection", integer(1, 3600, "seconds"), (300, 5, 300, 300),
            "A connection on which nothing arrives for so long is closed.", "InvalidTimeout"),
    Setting("SMTP_DATA_TIMEOUT_SECONDS", "timeouts.data", integer(1, 3600, "seconds"), (600, 10, 600, 600),
            "The longest transfer of one message.", "InvalidTimeout"),
    Setting("SMTP_COMMAND_TIMEOUT_SECONDS", "timeouts.command", integer(1, 3600, "seconds"), (60, 2, 60, 60),
            "The longest wait for the next command.", "InvalidTimeout"),
    Setting("SMTP_GREETING_TIMEOUT_SECONDS", "timeouts.greeting", integer(1, 3600, "seconds"), 30,
            "The longest wait for the first command.", "InvalidTimeout"),
)

_SECURITY = (
    Setting("SMTP_ENABLE_TLS", "tls.enabled", boolean(), (False, False, True, True),
            "STARTTLS is offered. Without a certificate the server makes one of its own and says so.",
            "InvalidBoolean", reload="workers"),
    Setting("SMTP_REQUIRE_TLS", "tls.required", boolean(), (False, False, True, True),
            "Before TLS no password is taken and nothing is relayed. As a profile's default it means only that, "
            "since a public mail exchanger takes mail without TLS (RFC 3207 section 4); set by you it also "
            "refuses strangers. Turned off by you, programs on this machine (loopback) may log in to the submission "
            "port in the clear.", "InvalidBoolean"),
    Setting("SMTP_TLS_CERT", "tls.cert_path", path(), None, "The certificate with its chain, PEM.",
            "InvalidTLSConfiguration"),
    Setting("SMTP_TLS_KEY", "tls.key_path", path(), None, "Its private key, PEM.", "InvalidTLSConfiguration"),
    Setting("SMTP_TLS_CLIENT_CA", "tls.client_ca", path(), None,
            "A PEM file of authorities, perhaps with their revocation lists. With it mail programs are asked for a "
            "certificate, and one of these authorities logs in the account whose address it holds (SASL EXTERNAL).",
            "InvalidTLSConfiguration"),
    Setting("SMTP_TLS_MIN_VERSION", "tls.min_version", choice("1.2", "1.3"), ("1.2", "1.2", "1.2", "1.3"),
            "The oldest TLS spoken. As a profile's default it does not bind the port-25 role, where refusing TLS "
            "1.2 would mean mail in the clear; set by you it does.", "InvalidTLSConfiguration"),
    Setting("SMTP_ENABLE_AUTH", "auth.enabled", boolean(), (False, False, True, True),
            "Accounts may log in on the port-25 role too. The submission ports always ask for a login.",
            "InvalidBoolean", reload="workers"),
    Setting("SMTP_REQUIRE_AUTH", "auth.required", boolean(), (False, False, True, True),
            "Only accounts may send to other servers. As a profile's default it means only that; set by you it also "
            "refuses mail from strangers to our own addresses.", "InvalidBoolean"),
)

_DATABASE = (
    Setting("SMTP_DB_PATH", "database.path", path(), "smtp.db",
            "The SQLite database: accounts, mail and queue. Made with mode 0600 when it is missing.", "InvalidPath",
            reload="restart"),
    Setting("SMTP_DATABASE_POOL_SIZE", "database.pool_size", integer(1, 10_000), (5, 2, 10, 20),
            "Connections to the database; Pillarbox needs one writer and a few readers a worker and opens just "
            "those.", "InvalidPoolSize", effect="none", aliases=("SMTP_DB_POOL_SIZE",)),
    Setting("SMTP_BUFFER_POOL_SIZE", "database.buffer_pool_size", integer(1, 1_000_000), (50, 10, 200, 500),
            "Buffers kept in reserve; Pillarbox keeps none. See SMTP_MEMORY_BUDGET.", "InvalidPoolSize", effect="none"),
    Setting("SMTP_DATABASE_URL", "database.url", url("postgres", "postgresql", host=False), None,
            "A PostgreSQL database in place of the SQLite file, for one node or several. See docs/postgresql.md.",
            "InvalidDatabaseUrl", secret=True, reload="restart"),
    Setting("SMTP_UNDELETE_DAYS", "database.undelete_days", integer(0, 3650, "days"), 14,
            "How long `pillarbox undelete` can bring back expunged messages and deleted mailboxes. Their space is "
            "given back a day after that.", "InvalidRetention"),
    Setting("SMTP_QUOTA_FULL", "database.quota_full", choice("temporary", "permanent"), "temporary",
            "What a sender is told when a mailbox is full: try again later (452), or no (552).",
            "InvalidQuotaPolicy"),
    Setting("SMTP_QUOTA_WARNINGS", "database.quota_warnings", percentages(10), "80 95",
            "At how many per cent of its quota an account is told so by mail, once each; of a domain's, its "
            "postmaster.", "InvalidQuotaWarnings"),
)

_LIMITS = (
    Setting("SMTP_RATE_LIMIT_PER_IP", "rate_limit.per_ip", integer(1, 1_000_000), (1000, 10_000, 500, 200),
            "Messages from one address in a window.", "InvalidRateLimit", aliases=("SMTP_RATE_LIMIT_MAX_REQUESTS",)),
    Setting("SMTP_RATE_LIMIT_PER_USER", "rate_limit.per_user", integer(1, 1_000_000), (500, 10_000, 200, 100),
            "Messages from one account in a window.", "InvalidRateLimit",
            aliases=("SMTP_RATE_LIMIT_MAX_PER_USER",)),
    Setting("SMTP_RATE_LIMIT_WINDOW_SECONDS", "rate_limit.window", integer(60, 86_400, "seconds"), 3600,
            "The length of a window.", "InvalidRateLimit"),
    Setting("SMTP_RATE_LIMIT_CLEANUP_INTERVAL", "rate_limit.cleanup_interval", integer(60, 86_400, "seconds"), 3600,
            "How often windows that are over are swept; Pillarbox counts in a table of fixed size and needs no sweep.",
            "InvalidRateLimit", effect="none"),
    Setting("SMTP_BAN_FAILURES", "ban.failures", integer(0, 10_000), (0, 0, 20, 20),
            "Failed logins from one address within SMTP_RATE_LIMIT_WINDOW_SECONDS after which it may not log in for a "
            "while; 0 bans nobody. The same wrong password again and again counts once.", "InvalidRateLimit"),
    Setting("SMTP_BAN_SECONDS", "ban.seconds", duration(60, 7 * 86_400), Duration(3600),
            "How long the first ban of an address lasts; each further one within a week twice as long.",
            "InvalidRateLimit"),
    Setting("SMTP_BAN_NEVER", "ban.never", networks(), _LOOPBACK,
            "Addresses and networks that are never banned.", "InvalidRateLimit"),
)

_SUBMISSION = (
    Setting("SMTP_SUBMISSION_SHOW_CLIENT", "submission.show_client", boolean(), False,
            "The Received field of what an account sends names the address and the name of its client.",
            "InvalidBoolean"),
    Setting("SMTP_SUBMISSION_MAX_PRIORITY", "submission.max_priority", integer(-9, 9), 4,
            "The highest priority that an account may give a message (MT-PRIORITY); a higher one becomes this one.",
            "InvalidSubmission"),
    Setting("SMTP_FUTURE_RELEASE_MAX", "submission.future_release_max", duration(0, 366 * 86_400),
            Duration(30 * 86_400), "For how long an account may have a message held before it is sent (FUTURERELEASE); "
            "0 does not offer it.", "InvalidSubmission"),
    Setting("SMTP_MESSAGES_PER_HOUR", "submission.messages_per_hour", integer(0, 1_000_000), (0, 0, 200, 200),
            "Messages that one account may send in an hour of the clock; 0 is no limit.", "InvalidRateLimit"),
    Setting("SMTP_MESSAGES_PER_DAY", "submission.messages_per_day", integer(0, 10_000_000), (0, 0, 1000, 1000),
            "Messages that one account may send in 24 hours; 0 is no limit.", "InvalidRateLimit"),
    Setting("SMTP_RECIPIENTS_PER_HOUR", "submission.recipients_per_hour", integer(0, 1_000_000), (0, 0, 500, 500),
            "Recipients of what one account sends in an hour of the clock; 0 is no limit.", "InvalidRateLimit"),
    Setting("SMTP_RECIPIENTS_PER_DAY", "submission.recipients_per_day", integer(0, 10_000_000), (0, 0, 2000, 2000),
            "Recipients of what one account sends in 24 hours; 0 is no limit.", "InvalidRateLimit"),
    Setting("SMTP_NEW_RECIPIENTS_PER_HOUR", "submission.new_recipients_per_hour", integer(0, 1_000_000),
            (0, 0, 150, 150), "Recipients that one account never wrote to before, in an hour of the clock. With more "
            "of them its password was probably stolen: what it has in the queue is held and it can send nothing, until "
            "`pillarbox user release` or `purge`. 0 is no limit.", "InvalidRateLimit"),
)

_ANTISPAM = (
    Setting("SMTP_ENABLE_DNSBL", "antispam.dnsbl", boolean(), False, "Clients on a DNS block list are refused.",
            "InvalidBoolean", effect="later"),
    Setting("SMTP_ENABLE_GREYLIST", "antispam.greylist", boolean(), (False, False, True, True),
            "The first try of an unknown sender is put off.", "InvalidBoolean", effect="later"),
    Setting("SMTP_ENABLE_SPAM_FILTER", "antispam.spam_filter", boolean(), (True, False, True, True),
            "Messages are scored.", "InvalidBoolean", effect="later"),
    Setting("SMTP_ENABLE_VIRUS_SCAN", "antispam.virus_scan", boolean(), (False, False, True, True),
            "Messages are shown to a virus scanner.", "InvalidBoolean", effect="later"),
)

_WEBHOOK = (
    Setting("SMTP_WEBHOOK_URL", "webhook.url", url("http", "https"), None,
            "Called for every message received; setting it turns SMTP_WEBHOOK_ENABLED on.",
            "InvalidWebhookConfiguration", effect="later", secret=True),
    Setting("SMTP_WEBHOOK_ENABLED", "webhook.enabled", boolean(), False,
            "The webhook is called; it needs SMTP_WEBHOOK_URL.", "InvalidWebhookConfiguration", effect="later",
            aliases=("SMTP_ENABLE_WEBHOOKS",)),
)

_OBSERVABILITY = (
    Setting("SMTP_ENABLE_JSON_LOGGING", "observability.json_logging", boolean(), (False, False, True, True),
            "Log lines are JSON objects.", "InvalidBoolean"),
    Setting("SMTP_LOG_FORMAT", "observability.log_format", choice("text", "json"), None,
            "`text` or `json`; decides over SMTP_ENABLE_JSON_LOGGING when set.", "InvalidLogFormat"),
    Setting("SMTP_LOG_LEVEL", "observability.log_level", choice("debug", "info", "warn", "error", "critical"),
            ("debug", "warn", "info", "info"), "The least grave log lines written.", "InvalidLogLevel"),
    Setting("SMTP_LOG_FILE", "observability.log_file", path(), None,
            "Log lines go to this file too. Standard error, and so the journal, has them always.", "InvalidPath"),
    Setting("SMTP_DEBUG", "observability.debug", boolean(), False, "The same as SMTP_LOG_LEVEL=debug.",
            "InvalidBoolean"),
    Setting("SMTP_ENABLE_METRICS", "observability.metrics", boolean(), True,
            "/metrics is served; in Pillarbox it always is.", "InvalidBoolean", effect="none",
            aliases=("SMTP_METRICS_ENABLED",)),
    Setting("SMTP_ENABLE_TRACING", "observability.tracing", boolean(), (True, False, True, True),
            "OpenTelemetry traces.", "InvalidBoolean", effect="later"),
    Setting("SMTP_TRACING_SERVICE_NAME", "observability.service_name", text(), "smtp-server",
            "The name of this service in traces.", "InvalidTracing", effect="later"),
)

_DNS = (
    Setting("SMTP_DNS_SERVERS", "dns.servers", servers(), (),
            "The DNS servers that are asked, recursive ones. Without it those of /etc/resolv.conf. Names are looked up "
            "in the DNS only, not in /etc/hosts.", "InvalidDns", reload="workers"),
    Setting("SMTP_DNS_ENGINE", "dns.engine", choice("auto", "unbound", "cares"), "auto",
            "Who asks: `unbound` is libunbound (Debian's libunbound8), which validates the answers (DNSSEC); `cares` "
            "is c-ares, which believes them. `auto` takes the first if it is there and works.", "InvalidDns",
            reload="workers"),
    Setting("SMTP_DNS_TIMEOUT_SECONDS", "dns.timeout", integer(1, 60, "seconds"), (10, 5, 10, 10),
            "The longest wait for one answer; what it was for is then tried again later.", "InvalidDns",
            reload="workers"),
    Setting("SMTP_DNS_TRUST_ANCHOR", "dns.trust_anchor", path(), None,
            "A file with the keys that validation begins with, as DS or DNSKEY records. Without it the root's, which "
            "are built in and taken from the system.", "InvalidDns", reload="workers"),
    Setting("SMTP_DNS_INSECURE_ZONES", "dns.insecure_zones", domains(), (),
            "Zones whose answers are taken unvalidated: names of your own network that the public DNS does not know.",
            "InvalidDns", reload="workers"),
)

_QUEUE = (
    Setting("SMTP_QUEUE_BATCH_SIZE", "queue.batch_size", integer(1, 10_000), (10, 5, 50, 100),
            "Entries that are taken from the queue for one destination at once; more of the same message come along.",
            "InvalidQueue"),
    Setting("SMTP_QUEUE_FLUSH_INTERVAL_MS", "queue.flush_interval_ms", integer(10, 3_600_000, "milliseconds"),
            (1000, 100, 2000, 5000), "How often the queue is looked at when nobody says that something is due.",
            "InvalidQueue"),
    Setting("SMTP_MAX_RETRY_ATTEMPTS", "queue.max_retry_attempts", integer(0, 1000), (2, 1, 3, 5),
            "Tries after the first before a message is given up. As a profile's default it decides nothing, the age "
            "of a message does (SMTP_QUEUE_LIFETIME); set by you, whichever comes first.", "InvalidQueue"),
    Setting("SMTP_RETRY_DELAY_SECONDS", "queue.retry_delay", integer(0, 86_400, "seconds"), (1, 0, 5, 10),
            "The first delay between two tries; each next is twice as long, up to 4 hours. As a profile's default it "
            "decides nothing, SMTP_RETRY_SCHEDULE does; set by you it takes the place of that schedule's default.",
            "InvalidQueue"),
    Setting("SMTP_RETRY_SCHEDULE", "queue.retry_schedule", durations(1, 7 * 86_400, 100), "5m 10m 20m 40m 1h 2h 4h",
            "The delays after the first try, the second and so on; the last one stays. Each is varied by up to 15 % so "
            "that messages that failed together do not come back together.", "InvalidQueue"),
    Setting("SMTP_QUEUE_LIFETIME", "queue.lifetime", duration(60, 90 * 86_400), Duration(5 * 86_400),
            "The age at which a message that cannot be delivered goes back to its sender.", "InvalidQueue"),
    Setting("SMTP_REPORT_LIFETIME", "queue.report_lifetime", duration(60, 90 * 86_400), Duration(86_400),
            "The age at which a report, or another message with the null sender, that cannot be delivered becomes a "
            "dead letter.", "InvalidQueue"),
    Setting("SMTP_DELAY_REPORT_AFTER", "queue.delay_report_after", duration(0, 90 * 86_400), Duration(4 * 3600),
            "The age at which a sender is told that a message still waits; 0 says never.", "InvalidQueue"),
    Setting("SMTP_QUEUE_CONNECTIONS", "queue.connections", integer(1, 10_000), (20, 5, 100, 100),
            "Connections to other servers that one worker has at once; those that were slow count apart, up to three "
            "times as many.", "InvalidQueue"),
    Setting("SMTP_DESTINATION_CONNECTIONS", "queue.destination_connections", integer(1, 1000), (10, 5, 20, 20),
            "Connections to one destination at once, where its route says nothing else. It begins with two and learns "
            "how many do well.", "InvalidQueue"),
    Setting("SMTP_CIRCUIT_BREAKER_THRESHOLD", "queue.circuit_breaker_threshold", integer(1, 10_000), (10, 3, 5, 10),
            "Failures to talk to a destination, in a row, after which it is left alone.", "InvalidQueue"),
    Setting("SMTP_CIRCUIT_BREAKER_TIMEOUT_SECONDS", "queue.circuit_breaker_timeout", integer(1, 86_400, "seconds"),
            (10, 1, 30, 60), "How long it is left alone before one connection tries it again; twice as long after "
            "each such try that fails, up to half an hour.", "InvalidQueue"),
    Setting("SMTP_PICKUP_DIR", "queue.pickup_dir", path(), None,
            "The folder in which `sendmail` leaves messages while the server is down. Without it `maildrop` in "
            "SMTP_RUNTIME_DIR.", "InvalidPath", reload="restart"),
    Setting("SMTP_TRACE_DAYS", "queue.trace_days", integer(1, 3650, "days"), 30,
            "How long the story of a message is kept for `pillarbox trace`.", "InvalidQueue"),
    Setting("SMTP_DEAD_LETTER_DAYS", "queue.dead_letter_days", integer(0, 3650, "days"), 30,
            "How long a dead letter (given up, and nobody could be told) is kept after the last thing that happened to "
            "it; 0 is for ever.", "InvalidQueue"),
    Setting("SMTP_ENABLE_IO_URING", "queue.io_uring", boolean(), (False, False, False, True),
            "io_uring; Pillarbox does not use it.", "InvalidBoolean", effect="none", aliases=("SMTP_USE_IO_URING",)),
)

_DELIVERY = (
    Setting("SMTP_DELIVERY_CONNECT_TIMEOUT_SECONDS", "delivery.connect_timeout", integer(1, 3600, "seconds"), 30,
            "The longest wait for a connection to one address of another server.", "InvalidTimeout"),
    Setting("SMTP_DELIVERY_COMMAND_TIMEOUT_SECONDS", "delivery.command_timeout", integer(1, 3600, "seconds"), 300,
            "The longest wait for another server's greeting and for its answer to a command. RFC 5321 section 4.5.3.2 "
            "wants five minutes, as it wants the defaults of the next three.", "InvalidTimeout"),
    Setting("SMTP_DELIVERY_DATA_TIMEOUT_SECONDS", "delivery.data_timeout", integer(1, 3600, "seconds"), 120,
            "The longest wait for another server's answer to DATA.", "InvalidTimeout"),
    Setting("SMTP_DELIVERY_BLOCK_TIMEOUT_SECONDS", "delivery.block_timeout", integer(1, 3600, "seconds"), 180,
            "The longest time that another server may take for 64 KiB of a message.", "InvalidTimeout"),
    Setting("SMTP_DELIVERY_END_TIMEOUT_SECONDS", "delivery.end_timeout", integer(1, 3600, "seconds"), 600,
            "The longest wait for another server's answer to a whole message. What it has taken and not answered is "
            "sent again and comes twice, so this should be long.", "InvalidTimeout"),
    Setting("SMTP_DELIVERY_TLS_CA", "delivery.tls_ca", path(), None,
            "A PEM file of certificates that are trusted besides the system's, for routes whose TLS policy is `verify` "
            "or `implicit`.", "InvalidPath"),
)

# fmt: on

SETTINGS: tuple[Setting, ...] = (
    *_SERVER,
    *_LISTENERS,
    *_TIMEOUTS,
    *_SECURITY,
    *_DATABASE,
    *_LIMITS,
    *_SUBMISSION,
    *_ANTISPAM,
    *_WEBHOOK,
    *_OBSERVABILITY,
    *_DNS,
    *_QUEUE,
    *_DELIVERY,
)

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_ALIAS: dict[str, Setting] = {alias: setting for setting in SETTINGS for alias in setting.aliases}

# Names operators know from the documents Pillarbox follows, whose features come later. Their values are not looked at.
_LATER_NAMES = """
    SUBMISSION_ENABLED DKIM_PRIVATE_KEY REQUIRE_AUTH_FOR_RELAY STORAGE_TYPE STORAGE_PATH MAILBOX_PATH QUEUE_DIR
    MAIL_DIR S3_BUCKET S3_REGION S3_ACCESS_KEY S3_SECRET_KEY ENABLE_SPAMASSASSIN SPAMASSASSIN_HOST SPAMASSASSIN_PORT
    ENABLE_CLAMAV CLAMAV_HOST CLAMAV_PORT WEBHOOK_EVENTS BACKUP_PATH ENABLE_AUTO_BACKUP BACKUP_INTERVAL
    ALERTING_ENABLED TRACING_ENDPOINT CLUSTER_ENABLED CLUSTER_NODE_ID CLUSTER_BIND_ADDRESS CLUSTER_BIND_PORT
    CLUSTER_PEERS CLUSTER_HEARTBEAT_INTERVAL CLUSTER_HEARTBEAT_TIMEOUT CLUSTER_ELECTION_TIMEOUT
    CLUSTER_AUTO_DISCOVERY CLUSTER_AUTH_ENABLED CLUSTER_AUTH_TOKEN CLUSTER_TLS_ENABLED CLUSTER_TLS_CERT
    CLUSTER_TLS_KEY CLUSTER_REPLICATION_BUFFER_SIZE NODE_ID CLUSTER_PORT RAFT_DISABLED MULTITENANCY_ENABLED
    DEFAULT_TENANT ALLOW_INSECURE PLUGIN_DEBUG BUFFER_SIZE ADMIN_PASSWORD
"""
KNOWN_LATER = frozenset(f"SMTP_{name}" for name in _LATER_NAMES.split())
