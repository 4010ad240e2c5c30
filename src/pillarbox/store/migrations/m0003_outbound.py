"""The way out: what the queue's scheduler needs, destinations, routes, lists, grants, tokens, usage, and events.

The lease of a queue row is its `next_retry_at`: who claims it puts that off, and a row whose time has come is claimable
whatever its status. Held and failed rows have none. `due_at` of a destination is never later than the least
`next_retry_at` of its rows, whoever writes them (triggers lower it, only the scheduler raises it); it may be earlier.
"""

from __future__ import annotations

from collections.abc import Mapping

_QUEUE_COLUMNS = (
    "message_key TEXT NOT NULL DEFAULT ''",
    "destination_id {int}",
    "route_id {int}",
    "moved {int} NOT NULL DEFAULT 0",  # the route is an operator's choice: it stays when rules change
    "user_id {int}",
    "via TEXT NOT NULL DEFAULT ''",
    "notify TEXT NOT NULL DEFAULT ''",
    "orcpt TEXT NOT NULL DEFAULT ''",
    "ret TEXT NOT NULL DEFAULT ''",
    "envid TEXT NOT NULL DEFAULT ''",
    "body TEXT NOT NULL DEFAULT ''",
    "smtputf8 {int} NOT NULL DEFAULT 0",
    "deliver_by {int}",
    "deliver_mode TEXT NOT NULL DEFAULT ''",
    "expires_at {int}",
    "delay_reported_at {int}",
    "claimed_by TEXT NOT NULL DEFAULT ''",
    "last_host TEXT NOT NULL DEFAULT ''",
)
_USER_COLUMNS = ("sending_held_at {int}", "sending_held_reason TEXT NOT NULL DEFAULT ''")

# When a destination can be leased next: it is due, nobody holds it, and no trouble there is waited out.
_READY = (
    "CASE WHEN held_until > due_at AND held_until >= coalesce(blocked_until, 0) THEN held_until "
    "WHEN coalesce(blocked_until, 0) > due_at THEN blocked_until ELSE due_at END"
)

_TABLES = (
    """CREATE TABLE destinations (
        id {id},
        name TEXT NOT NULL UNIQUE,
        due_at {int},
        holder TEXT NOT NULL DEFAULT '',
        held_until {int} NOT NULL DEFAULT 0,
        failures {int} NOT NULL DEFAULT 0,
        concurrency {int} NOT NULL DEFAULT 0,
        blocked_until {int},
        last_error TEXT NOT NULL DEFAULT '',
        updated_at {int} NOT NULL DEFAULT 0
    )""",
    """CREATE TABLE routes (
        id {id},
        name TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        host TEXT NOT NULL DEFAULT '',
        port {int} NOT NULL DEFAULT 25,
        tls TEXT NOT NULL DEFAULT 'may',
        username TEXT NOT NULL DEFAULT '',
        password TEXT NOT NULL DEFAULT '',
        ehlo_name TEXT NOT NULL DEFAULT '',
        source_ipv4 TEXT NOT NULL DEFAULT '',
        source_ipv6 TEXT NOT NULL DEFAULT '',
        concurrency {int} NOT NULL DEFAULT 0,
        created_at {int} NOT NULL,
        updated_at {int} NOT NULL
    )""",
    """CREATE TABLE route_rules (
        id {id},
        scope TEXT NOT NULL,
        pattern TEXT NOT NULL,
        route_id {int} NOT NULL REFERENCES routes (id),
        accept {int} NOT NULL DEFAULT 0,
        created_at {int} NOT NULL,
        UNIQUE (scope, pattern)
    )""",
    """CREATE TABLE lists (
        id {id},
        address TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL DEFAULT '',
        posting TEXT NOT NULL DEFAULT 'members',
        created_at {int} NOT NULL
    )""",
    """CREATE TABLE list_members (
        id {id},
        list_id {int} NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
        address TEXT NOT NULL,
        UNIQUE (list_id, address)
    )""",
    # What belongs to an account goes with it, also when an older program deletes it: hence the cascades.
    """CREATE TABLE sender_grants (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        address TEXT NOT NULL,
        UNIQUE (user_id, address)
    )""",
    """CREATE TABLE tokens (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name TEXT NOT NULL DEFAULT '',
        token_hash TEXT NOT NULL UNIQUE,
        scope TEXT NOT NULL DEFAULT '',
        created_at {int} NOT NULL,
        expires_at {int},
        last_used_at {int}
    )""",
    "CREATE INDEX idx_tokens_user ON tokens (user_id)",
    # `hour` is hours since 1970.
    """CREATE TABLE sending_usage (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        hour {int} NOT NULL,
        messages {int} NOT NULL DEFAULT 0,
        recipients {int} NOT NULL DEFAULT 0,
        new_recipients {int} NOT NULL DEFAULT 0,
        UNIQUE (user_id, hour)
    )""",
    "CREATE INDEX idx_sending_usage_hour ON sending_usage (hour)",
    """CREATE TABLE known_recipients (
        id {id},
        user_id {int} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        address TEXT NOT NULL,
        first_at {int} NOT NULL,
        last_at {int} NOT NULL,
        UNIQUE (user_id, address)
    )""",
    # The story of each message; `at` in milliseconds, `detail` is JSON.
    """CREATE TABLE message_events (
        id {id},
        at {int} NOT NULL,
        message_key TEXT NOT NULL DEFAULT '',
        queue_id {int},
        kind TEXT NOT NULL,
        sender TEXT NOT NULL DEFAULT '',
        recipient TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT ''
    )""",
    "CREATE INDEX idx_events_key ON message_events (message_key)",
    "CREATE INDEX idx_events_at ON message_events (at)",
)

# Where the sweep of destinations goes on.
_COUNTER = "INSERT INTO store_counters (id, name, value) VALUES (5, 'queue_sweep', 0)"

_INDEXES = (
    f"CREATE INDEX idx_destinations_ready ON destinations (({_READY})) WHERE due_at IS NOT NULL",
    "CREATE INDEX idx_destinations_holder ON destinations (holder) WHERE holder <> ''",
    # Rows of a destination in the order in which they are claimed; first of all those without a destination.
    "CREATE INDEX idx_queue_due ON message_queue (destination_id, priority, next_retry_at) "
    "WHERE next_retry_at IS NOT NULL",
    # Destinations of urgent rows go first, however many are due.
    "CREATE INDEX idx_queue_urgent ON message_queue (priority, next_retry_at, destination_id) "
    "WHERE priority > 0 AND next_retry_at IS NOT NULL",
    # Held rows and dead letters; and rows that were written by hand and nobody would ever look at.
    "CREATE INDEX idx_queue_resting ON message_queue (next_retry_at, status) WHERE next_retry_at IS NULL",
    "CREATE INDEX idx_queue_user ON message_queue (user_id) WHERE user_id IS NOT NULL",
)
_QUEUE_INDEXES = ("idx_queue_due", "idx_queue_urgent", "idx_queue_resting", "idx_queue_user")

# Dropped in this order.
_TABLE_NAMES = (
    "message_events",
    "known_recipients",
    "sending_usage",
    "tokens",
    "sender_grants",
    "list_members",
    "lists",
    "route_rules",
    "routes",
    "destinations",
)

_NOTE = "UPDATE store_counters SET value = value + 1 WHERE id = 3"
# Tables of the directory (see step 2), and which columns of them.
_WATCHED = (
    ("routes", ""),
    ("route_rules", ""),
    ("lists", ""),
    ("list_members", ""),
    ("sender_grants", ""),
    ("tokens", " OF user_id, token_hash, scope, expires_at"),
)
_HELD = "UPDATE OF sending_held_at, sending_held_reason ON users"

_WAITING = "new.destination_id IS NOT NULL AND new.next_retry_at IS NOT NULL"
_SOONER = (
    f"{_WAITING} AND (old.next_retry_at IS NULL OR new.next_retry_at < old.next_retry_at "
    "OR old.destination_id IS NULL OR old.destination_id <> new.destination_id)"
)
_QUEUE_EVENTS = (
    ("queue_due_insert", "INSERT", _WAITING),
    ("queue_due_update", "UPDATE OF next_retry_at, destination_id", _SOONER),
)
_LOWER = (
    "UPDATE destinations SET due_at = new.next_retry_at WHERE id = new.destination_id "
    "AND (due_at IS NULL OR due_at > new.next_retry_at)"
)
# A destination that is not there: the row is routed again.
_ASTRAY = "UPDATE message_queue SET destination_id = NULL WHERE id = new.id"
_ORPHANS = "UPDATE message_queue SET destination_id = NULL WHERE destination_id = old.id AND next_retry_at IS NOT NULL"
# `UPDATE message_queue SET status = 'held'` by hand is all it takes.
_RESTING = "new.status IN ('held', 'failed') AND new.next_retry_at IS NOT NULL"
_REST = "UPDATE message_queue SET next_retry_at = NULL, claimed_by = '' WHERE id = new.id"


def up(words: Mapping[str, str]) -> list[str]:
    triggers = _up_sqlite() if words["blob"] == "BLOB" else _up_postgresql()
    columns = [
        f"ALTER TABLE {table} ADD COLUMN {column.format(**words)}"
        for table, added in (("message_queue", _QUEUE_COLUMNS), ("users", _USER_COLUMNS))
        for column in added
    ]
    return [*columns, *(table.format(**words) for table in _TABLES), *_INDEXES, _COUNTER, *triggers]


def down(words: Mapping[str, str]) -> list[str]:
    """Held mail must not leave by itself when the newer program comes back: it becomes dead letters."""
    triggers = _down_sqlite() if words["blob"] == "BLOB" else _down_postgresql()
    columns = [
        f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}"
        for table, added in (("message_queue", _QUEUE_COLUMNS), ("users", _USER_COLUMNS))
        for column in added
    ]
    return [
        *triggers,
        "UPDATE message_queue SET status = 'failed' WHERE status = 'held'",
        "UPDATE message_queue SET status = 'retry' WHERE status = 'processing'",
        *(f"DROP INDEX {name}" for name in _QUEUE_INDEXES),
        *(f"DROP TABLE {name}" for name in _TABLE_NAMES),
        *columns,
        "DELETE FROM store_counters WHERE id = 5",
    ]


def _up_sqlite() -> list[str]:
    astray = f"{_ASTRAY} AND NOT EXISTS (SELECT 1 FROM destinations WHERE id = new.destination_id)"
    return [
        *(
            f"CREATE TRIGGER {table}_{event.lower()} AFTER {event}{columns if event == 'UPDATE' else ''} ON {table} "
            f"BEGIN {_NOTE}; END"
            for table, columns in _WATCHED
            for event in ("INSERT", "DELETE", "UPDATE")
        ),
        f"CREATE TRIGGER users_held AFTER {_HELD} BEGIN {_NOTE}; END",
        *(
            f"CREATE TRIGGER {name} AFTER {event} ON message_queue WHEN {when} BEGIN {_LOWER}; {astray}; END"
            for name, event, when in _QUEUE_EVENTS
        ),
        f"CREATE TRIGGER queue_rest AFTER UPDATE OF status ON message_queue WHEN {_RESTING} BEGIN {_REST}; END",
        f"CREATE TRIGGER destinations_delete AFTER DELETE ON destinations BEGIN {_ORPHANS}; END",
    ]


def _down_sqlite() -> list[str]:
    names = [f"{table}_{event}" for table, _ in _WATCHED for event in ("insert", "delete", "update")]
    names += ["users_held", *(name for name, _, _ in _QUEUE_EVENTS), "queue_rest", "destinations_delete"]
    return [f"DROP TRIGGER {name}" for name in names]


def _up_postgresql() -> list[str]:
    # Who raises due_at locks the destination FOR UPDATE and looks at its rows then: the share lock here, held until
    # the row is committed, makes it wait.
    return [
        "CREATE FUNCTION note_queue_due() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM 1 FROM destinations WHERE id = new.destination_id FOR KEY SHARE; "
        f"IF FOUND THEN {_LOWER}; ELSE {_ASTRAY}; END IF; RETURN NULL; END $$",
        f"CREATE FUNCTION note_queue_rest() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_REST}; RETURN NULL; END $$",
        "CREATE FUNCTION note_destination_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"{_ORPHANS}; RETURN NULL; END $$",
        *(
            f"CREATE TRIGGER {table}_changed AFTER INSERT OR DELETE OR UPDATE{columns} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION note_directory()"
            for table, columns in _WATCHED
        ),
        f"CREATE TRIGGER users_held AFTER {_HELD} FOR EACH STATEMENT EXECUTE FUNCTION note_directory()",
        *(
            f"CREATE TRIGGER {name} AFTER {event} ON message_queue FOR EACH ROW WHEN ({when}) "
            "EXECUTE FUNCTION note_queue_due()"
            for name, event, when in _QUEUE_EVENTS
        ),
        f"CREATE TRIGGER queue_rest AFTER UPDATE OF status ON message_queue FOR EACH ROW WHEN ({_RESTING}) "
        "EXECUTE FUNCTION note_queue_rest()",
        "CREATE TRIGGER destinations_delete AFTER DELETE ON destinations FOR EACH ROW "
        "EXECUTE FUNCTION note_destination_gone()",
    ]


def _down_postgresql() -> list[str]:
    triggers = [(f"{table}_changed", table) for table, _ in _WATCHED]
    triggers += [("users_held", "users"), *((name, "message_queue") for name, _, _ in _QUEUE_EVENTS)]
    triggers += [("queue_rest", "message_queue"), ("destinations_delete", "destinations")]
    functions = [f"DROP FUNCTION {name}()" for name in ("note_destination_gone", "note_queue_rest", "note_queue_due")]
    return [*(f"DROP TRIGGER {name} ON {table}" for name, table in triggers), *functions]
