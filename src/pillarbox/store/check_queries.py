"""The invariants of a store: SQL that finds the rows that break one, and the sentence for each."""

from __future__ import annotations

from collections.abc import Callable

from pillarbox.store import lists, rights, routes, senders
from pillarbox.store.addresses import address_key, domain_key, split
from pillarbox.store.client_certificates import fingerprint_of
from pillarbox.store.flags import join_keywords
from pillarbox.store.mailbox_names import normalised

Form = Callable[..., str]


def _first(address: str, _: int) -> str:
    return address_key(address)


def _granted(address: str, _: int) -> str:
    return senders.grant_key(address)


# Each: the sentence for a row, with the columns of the query.
QUERIES: tuple[tuple[str, str], ...] = (
    (
        "Mailbox {} ({}) says {} messages, {} unseen, {} deleted, {} octets; its rows say {}, {}, {}, {}.",
        "SELECT id, name, message_count, unseen_count, deleted_count, total_size, n, u, d, s FROM "
        "(SELECT m.id, m.name, m.message_count, m.unseen_count, m.deleted_count, m.total_size, count(e.id) AS n, "
        "coalesce(sum(CASE WHEN e.flags & 1 = 0 THEN 1 ELSE 0 END), 0) AS u, "
        "coalesce(sum(CASE WHEN e.flags & 8 <> 0 THEN 1 ELSE 0 END), 0) AS d, coalesce(sum(e.size), 0) AS s "
        "FROM mailboxes m LEFT JOIN messages e ON e.mailbox_id = m.id WHERE m.deleted_at IS NULL "
        "GROUP BY m.id, m.name, m.message_count, m.unseen_count, m.deleted_count, m.total_size) AS counted "
        "WHERE n <> message_count OR u <> unseen_count OR d <> deleted_count OR s <> total_size",
    ),
    (
        "Mailbox {} has message {} with UID {}, not below its UIDNEXT {}.",
        "SELECT m.id, e.id, e.uid, m.uidnext FROM messages e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.uid >= m.uidnext OR e.uid < 1",
    ),
    (
        "Mailbox {} has message {} with modification number {}, above its HIGHESTMODSEQ {}.",
        "SELECT m.id, e.id, e.modseq, m.highestmodseq FROM messages e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.modseq > m.highestmodseq",
    ),
    (
        "Mailbox {} remembers an expunge of UID {} with modification number {}, above its HIGHESTMODSEQ {}.",
        "SELECT m.id, e.uid, e.modseq, m.highestmodseq FROM expunged e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.modseq > m.highestmodseq",
    ),
    (
        "Mailbox {} has HIGHESTMODSEQ {}, above its account's counter {}.",
        "SELECT m.id, m.highestmodseq, u.modseq FROM mailboxes m JOIN users u ON u.id = m.user_id "
        "WHERE m.highestmodseq > u.modseq",
    ),
    (
        "Mailbox {} has its history from {} on, above its HIGHESTMODSEQ {}.",
        "SELECT id, history_from, highestmodseq FROM mailboxes WHERE history_from > highestmodseq",
    ),
    (
        "Mailbox {} remembers UID {} as expunged, but the message is there.",
        "SELECT e.mailbox_id, e.uid FROM expunged e JOIN messages m ON m.mailbox_id = e.mailbox_id AND m.uid = e.uid",
    ),
    (
        "Message id {} is both there and expunged.",
        "SELECT e.id FROM expunged e JOIN messages m ON m.id = e.id",
    ),
    (
        "Message {} in mailbox {} refers to blob {}, which is not there or not complete.",
        "SELECT m.id, m.mailbox_id, m.blob_id FROM messages m LEFT JOIN blobs b ON b.id = m.blob_id "
        "WHERE b.id IS NULL OR b.complete <> 1",
    ),
    (
        "Message {} in mailbox {} says {} octets, but prefix and blob have {}.",
        "SELECT m.id, m.mailbox_id, m.size, length(m.prefix) + b.size FROM messages m JOIN blobs b ON b.id = m.blob_id "
        "WHERE m.size <> length(m.prefix) + b.size",
    ),
    (
        "Message {} belongs to mailbox {}, which is not there.",
        "SELECT e.id, e.mailbox_id FROM messages e LEFT JOIN mailboxes m ON m.id = e.mailbox_id WHERE m.id IS NULL",
    ),
    (
        "The expunge of message {} belongs to mailbox {}, which is not there.",
        "SELECT e.id, e.mailbox_id FROM expunged e LEFT JOIN mailboxes m ON m.id = e.mailbox_id WHERE m.id IS NULL",
    ),
    (
        "Queue row {} refers to blob {}, which is not there or not complete.",
        "SELECT q.id, q.blob_id FROM message_queue q LEFT JOIN blobs b ON b.id = q.blob_id "
        "WHERE q.blob_id IS NOT NULL AND (b.id IS NULL OR b.complete <> 1)",
    ),
    (
        "Mailbox {} belongs to user {}, who is not there.",
        "SELECT m.id, m.user_id FROM mailboxes m LEFT JOIN users u ON u.id = m.user_id "
        "WHERE m.deleted_at IS NULL AND u.id IS NULL",
    ),
    (
        "Mailbox {} is deleted but has an owner.",
        "SELECT id FROM mailboxes WHERE deleted_at IS NOT NULL AND user_id IS NOT NULL",
    ),
    (
        "A subscription to {} belongs to user {}, who is not there.",
        "SELECT s.name, s.user_id FROM subscriptions s LEFT JOIN users u ON u.id = s.user_id WHERE u.id IS NULL",
    ),
    (
        "User {} is charged {} octets, but the mailboxes hold {}.",
        "SELECT username, quota_used, held FROM "
        "(SELECT u.username, u.quota_used, coalesce(sum(m.total_size), 0) AS held "
        "FROM users u LEFT JOIN mailboxes m ON m.user_id = u.id "
        "GROUP BY u.id, u.username, u.quota_used) AS charged "
        "WHERE quota_used <> held",
    ),
    (
        "User {} has no INBOX.",
        "SELECT u.username FROM users u LEFT JOIN mailboxes m ON m.user_id = u.id AND m.name = 'INBOX' "
        "WHERE m.id IS NULL",
    ),
    (
        "Mailbox {} has UIDVALIDITY {}, which no client takes (RFC 9051 section 2.3.1.1).",
        "SELECT id, uidvalidity FROM mailboxes WHERE uidvalidity < 1 OR uidvalidity > 4294967295",
    ),
    (
        "Mailbox {} has UIDVALIDITY {}, above the store's last one {}.",
        "SELECT m.id, m.uidvalidity, c.value FROM mailboxes m JOIN store_counters c ON c.id = 2 "
        "WHERE m.uidvalidity > c.value",
    ),
    (
        "Chunk {} belongs to blob {}, which is not there.",
        "SELECT c.id, c.blob_id FROM blob_chunks c LEFT JOIN blobs b ON b.id = c.blob_id WHERE b.id IS NULL",
    ),
    (
        "Mailboxes {} and {} of one account have the same UIDVALIDITY {}.",
        "SELECT a.id, b.id, a.uidvalidity FROM mailboxes a JOIN mailboxes b ON b.user_id = a.user_id AND b.id > a.id "
        "WHERE b.uidvalidity = a.uidvalidity",
    ),
    (
        "Mailbox {} remembers an expunge of UID {}, not below its UIDNEXT {}: the UID would be given again.",
        "SELECT m.id, e.uid, m.uidnext FROM expunged e JOIN mailboxes m ON m.id = e.mailbox_id "
        "WHERE e.uid >= m.uidnext",
    ),
    (
        "Mailbox {} says that messages from UID {} on are recent, above its UIDNEXT {}.",
        "SELECT id, first_recent_uid, uidnext FROM mailboxes WHERE first_recent_uid > uidnext",
    ),
    (
        "Message {} in mailbox {} has flags {}, which are no system flags.",
        "SELECT id, mailbox_id, flags FROM messages WHERE flags < 0 OR flags > 31",
    ),
    (
        "The expunge of message {} refers to blob {}, which is not there.",
        "SELECT e.id, e.blob_id FROM expunged e LEFT JOIN blobs b ON b.id = e.blob_id "
        "WHERE e.blob_id IS NOT NULL AND b.id IS NULL",
    ),
    (
        "The expunge of message {} can be brought back, but lacks its blob or a date.",
        "SELECT id FROM expunged WHERE expunged_at IS NOT NULL "
        "AND (blob_id IS NULL OR internal_date IS NULL OR save_date IS NULL)",
    ),
    (
        "Mailbox {} is not deleted, but remembers its owner {} as if it were.",
        "SELECT id, deleted_owner FROM mailboxes WHERE deleted_at IS NULL AND deleted_owner IS NOT NULL",
    ),
    (
        "Mailbox {} took in a message as UID {}, not below its UIDNEXT {}.",
        "SELECT m.id, i.uid, m.uidnext FROM imported i JOIN import_folders f ON f.id = i.folder_id "
        "JOIN mailboxes m ON m.id = f.mailbox_id WHERE i.uid >= m.uidnext",
    ),
    (
        "Blob {} lacks what was computed of it.",
        "SELECT id FROM blobs WHERE complete = 1 "
        "AND (bodystructure IS NULL OR body IS NULL OR parts IS NULL OR header_size > size "
        "OR (envelope IS NULL AND EXISTS (SELECT 1 FROM messages m WHERE m.blob_id = blobs.id)))",
    ),
    (
        "Blob {} has its octets twice, in its row and in chunks.",
        "SELECT id FROM blobs WHERE data IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM blob_chunks c WHERE c.blob_id = blobs.id)",
    ),
    (
        "Queue row {} has no message.",
        "SELECT id FROM message_queue WHERE blob_id IS NULL AND length(message_data) = 0",
    ),
    (
        "Queue row {} has the status {!r}, which there is not.",
        "SELECT id, status FROM message_queue WHERE status NOT IN ('pending', 'processing', 'retry', 'failed', 'held')",
    ),
    (
        "Queue row {} is {}, but would be sent at {}.",
        "SELECT id, status, next_retry_at FROM message_queue "
        "WHERE status IN ('failed', 'held') AND next_retry_at IS NOT NULL",
    ),
    (
        "Queue row {} is {}, but claimed by {}.",
        "SELECT id, status, claimed_by FROM message_queue "
        "WHERE status NOT IN ('processing', 'held', 'failed') AND claimed_by <> ''",
    ),
    (
        "Queue row {} waits for destination {}, which is not there.",
        "SELECT q.id, q.destination_id FROM message_queue q LEFT JOIN destinations d ON d.id = q.destination_id "
        "WHERE q.next_retry_at IS NOT NULL AND q.destination_id IS NOT NULL AND d.id IS NULL",
    ),
    (
        "Destination {} ({}) is due at {}, but a row of it at {}.",
        "SELECT d.id, d.name, d.due_at, q.first FROM destinations d JOIN (SELECT destination_id, "
        "min(next_retry_at) AS first FROM message_queue WHERE next_retry_at IS NOT NULL GROUP BY destination_id) AS q "
        "ON q.destination_id = d.id WHERE d.due_at IS NULL OR d.due_at > q.first",
    ),
    (
        "Route {} ({}) has the kind {!r} and the TLS {!r}, which there are not.",
        f"SELECT id, name, kind, tls FROM routes WHERE kind NOT IN {routes.KINDS} OR tls NOT IN {routes.TLS}",
    ),
    (
        "Rule {} has the scope {!r}, which there is not.",
        f"SELECT id, scope FROM route_rules WHERE scope NOT IN {routes.SCOPES}",
    ),
    (
        "List {} ({}) may be posted to by {!r}, which there is not.",
        f"SELECT id, address, posting FROM lists WHERE posting NOT IN {lists.POSTING}",
    ),
    (
        "List {} ({}) is a member of itself.",
        "SELECT l.id, l.address FROM lists l JOIN list_members m ON m.list_id = l.id AND m.address = l.address",
    ),
    (
        "List {} ({}) has itself as owner: name a person, pillarbox list set {} --owner ADDRESS.",
        "SELECT id, address, address FROM lists WHERE owner = address",
    ),
    (
        "Mailbox {} ({}) says {} octets of annotations; its rows say {}.",
        "SELECT id, name, annotation_octets, n FROM (SELECT m.id, m.name, m.annotation_octets, "
        "coalesce(sum(length(a.value) + length(a.entry)), 0) AS n FROM mailboxes m "
        "LEFT JOIN annotations a ON a.mailbox_id = m.id WHERE m.deleted_at IS NULL "
        "GROUP BY m.id, m.name, m.annotation_octets) AS counted WHERE n <> annotation_octets",
    ),
    (
        "Mailbox {} ({}) says {} octets of annotations of expunged messages; its rows say {}.",
        "SELECT id, name, past_octets, n FROM (SELECT m.id, m.name, m.past_octets, "
        "coalesce(sum(length(p.value) + length(p.entry)), 0) AS n FROM mailboxes m "
        "LEFT JOIN past_annotations p ON p.mailbox_id = m.id WHERE m.deleted_at IS NULL "
        "GROUP BY m.id, m.name, m.past_octets) AS counted WHERE n <> past_octets",
    ),
    (
        "Annotation {} of mailbox {} is kept for expunged message {}, which cannot be brought back.",
        "SELECT p.id, p.mailbox_id, p.message_id FROM past_annotations p LEFT JOIN expunged e ON e.id = p.message_id "
        "JOIN mailboxes m ON m.id = p.mailbox_id WHERE e.expunged_at IS NULL AND m.deleted_at IS NULL",
    ),
    (
        "Annotation {} of mailbox {} belongs to UID {}, which is not there.",
        "SELECT a.id, a.mailbox_id, a.uid FROM annotations a LEFT JOIN messages m "
        "ON m.mailbox_id = a.mailbox_id AND m.uid = a.uid JOIN mailboxes b ON b.id = a.mailbox_id "
        "WHERE m.id IS NULL AND b.deleted_at IS NULL",
    ),
    (
        "Annotation {} of mailbox {} has the modification number {}, above that of its message, {}.",
        "SELECT a.id, a.mailbox_id, a.modseq, m.modseq FROM annotations a JOIN messages m "
        "ON m.mailbox_id = a.mailbox_id AND m.uid = a.uid WHERE a.modseq > m.modseq",
    ),
    (
        "Rights {} on mailbox {} are said to be given by user {}, who does not own it.",
        "SELECT a.id, a.mailbox_id, a.owner_id FROM acl a JOIN mailboxes m ON m.id = a.mailbox_id "
        "WHERE m.user_id IS NOT NULL AND m.user_id <> a.owner_id",
    ),
    (
        "Rights {} are given by user {} to itself.",
        "SELECT id, owner_id FROM acl WHERE user_id = owner_id",
    ),
    (
        "User {} has a quota below zero.",
        "SELECT username FROM users WHERE quota_limit < 0 OR quota_messages < 0 OR quota_mailboxes < 0",
    ),
)

# How texts are stored, so that equal ones are found: rows, the text in its form, and the sentence.
FORMS: tuple[tuple[str, Form, str], ...] = (
    (
        "SELECT DISTINCT keywords FROM messages WHERE keywords <> ''",
        lambda text: join_keywords(text.split()),
        "Messages have keywords that are not sorted or not separated by single spaces: {!r}.",
    ),
    (
        "SELECT DISTINCT keywords FROM expunged WHERE keywords <> ''",
        lambda text: join_keywords(text.split()),
        "Expunged messages have keywords that are not sorted or not separated by single spaces: {!r}.",
    ),
    (
        "SELECT name, id FROM mailboxes",
        lambda name, _: normalised(name),
        "The name {!r} of mailbox {} has another form.",
    ),
    (
        "SELECT email_domain, email, username FROM users",
        lambda _, email, __: split(email)[1],
        "{!r} is not the domain of {}, the address of user {}.",
    ),
    ("SELECT name FROM domains", domain_key, "The domain {!r} has another form."),
    ("SELECT address FROM aliases", address_key, "The alias {!r} has another form."),
    ("SELECT pattern FROM route_rules", routes.pattern_key, "The pattern {!r} of a rule has another form."),
    ("SELECT address FROM lists", address_key, "The list {!r} has another form."),
    ("SELECT address, list_id FROM list_members", _first, "The member {!r} of list {} has another form."),
    ("SELECT rights, id FROM acl", lambda letters, _: rights.ordered(letters), "The rights {!r} of row {} of acl."),
    ("SELECT entry, id FROM metadata", lambda name, _: name.lower(), "The entry {!r} of metadata {} has capitals."),
    (
        "SELECT fingerprint, certificate FROM client_certificates",
        lambda _, der: fingerprint_of(bytes(der)),
        "{0!r} is not the fingerprint of its certificate: it logs in nobody.",
    ),
    ("SELECT address, user_id FROM sender_grants", _granted, "The grant of {!r} to user {} has another form."),
)
