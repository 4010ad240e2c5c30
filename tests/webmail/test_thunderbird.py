"""Thunderbird keeps an account and a shared mailbox: COMPRESS, UTF8=ACCEPT, ACL, IDLE and MOVE as it uses them."""

import email
import email.policy
import time

import pytest

from running import free_ports
from webmail import thunderbird


@pytest.fixture
def started(tmp_path):
    """Starts Thunderbird for an account; nothing may be refused to it."""
    if reason := thunderbird.missing():
        pytest.skip(reason)
    running = []

    def start(account):
        running.append(thunderbird.Thunderbird(tmp_path / f"profile{len(running)}", free_ports(1), account))
        return running[-1]

    yield start
    for one in running:
        one.__exit__()
        assert one.refusals() == []


def eventually(happened, seconds=40):
    """Thunderbird tells the server in its own time."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_thunderbird_reads_marks_moves_searches_and_deletes(started, ada):
    ada.receive("read", "moved", "deleted")
    ada.receive("found", body="a zebra")
    bird = started(ada)
    eventually(lambda: sorted(bird.run("return subjects('INBOX')")) == ["deleted", "found", "moved", "read"])
    text = bird.run("""
        const { MsgHdrToMimeMessage } = ChromeUtils.importESModule("resource:///modules/gloda/MimeMessage.sys.mjs");
        const told = ok => MsgHdrToMimeMessage(message("INBOX", "read"), null, (_, mime) => ok(mime), true, {});
        return (await new Promise(told)).coerceBodyToPlaintext(folder("INBOX")).trim();""")
    assert text == "Nothing but words."
    bird.run("""
        const marked = [message("INBOX", "read")];
        folder("INBOX").markMessagesRead(marked, true);
        folder("INBOX").markMessagesFlagged(marked, true);
        await update("INBOX");
        await until(() => folder("Archive"));
        const moved = [message("INBOX", "moved")];
        const copy = MailServices.copy;
        await copied(l => copy.copyMessages(folder("INBOX"), moved, folder("Archive"), true, l, null, true));
        server().rootFolder.createSubfolder("Projekte ä", null);
        await until(() => folder("Projekte ä"));
        await copied(l => folder("INBOX").deleteMessages([message("INBOX", "deleted")], null, false, true, l, true));
        await update("INBOX");
        await update("Trash");
        await until(() => subjects("Trash").length);""")
    eventually(lambda: ada.flags() == {"read": {"\\Seen", "\\Flagged"}, "found": set()})
    assert set(ada.flags("Archive")) == {"moved"}
    assert set(ada.flags("Trash")) == {"deleted"}
    assert "Projekte &AOQ-" in ada.folders()
    hits = bird.run("""
        const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
        const term = session.createTerm(), value = term.value, hits = [];
        [term.attrib, term.op, term.booleanAnd] = [Ci.nsMsgSearchAttrib.Body, Ci.nsMsgSearchOp.Contains, true];
        [value.attrib, value.str] = [Ci.nsMsgSearchAttrib.Body, "zebra"];
        term.value = value;
        session.appendTerm(term);
        session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder("INBOX"));
        await new Promise(ok => {
          session.registerListener({
            onSearchHit(m) { hits.push(m.mime2DecodedSubject) }, onSearchDone() { ok() }, onNewSearch() {},
            QueryInterface: ChromeUtils.generateQI(["nsIMsgSearchNotify"])});
          session.search(null);
        });
        return hits;""")
    assert hits == ["found"]


def test_thunderbird_hears_of_mail_and_sends(started, ada, bob):
    bird = started(ada)
    ada.receive("pushed")
    bird.run("await until(() => message('INBOX', 'pushed'))")
    ada.mark("pushed", "\\Flagged")
    bird.run("await until(() => message('INBOX', 'pushed').isFlagged)")
    bird.run(
        """
        const identity = MailServices.accounts.allIdentities[0];
        const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
        Object.assign(fields, { from: identity.email, to: args[0], subject: "Grüße", body: "Ja ü\\r\\n" });
        fields.forcePlainText = true;
        const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
        Object.assign(params, { composeFields: fields, identity, format: Ci.nsIMsgCompFormat.PlainText });
        const compose = Cc["@mozilla.org/messengercompose/compose;1"].createInstance(Ci.nsIMsgCompose);
        compose.initialize(params);
        await until(() => folder("Sent"));
        await compose.sendMsg(Ci.nsIMsgSend.nsMsgDeliverNow, identity, "", null, null);
        await until(async () => { await update("Sent"); return subjects("Sent").length });""",
        bob.name,
    )
    got, sent = (email.message_from_bytes(m, policy=email.policy.default) for m in (bob.only(), ada.only("Sent")))
    assert got["Subject"] == sent["Subject"] == "Grüße"
    assert got["Message-ID"] == sent["Message-ID"]
    assert got.get_content().strip() == "Ja ü"
    assert [flags & {"\\Seen"} for flags in ada.flags("Sent").values()] == [{"\\Seen"}]


def test_thunderbird_uses_a_mailbox_that_is_shared(started, ada, bob):
    ada.create("Projects")
    ada.append("Projects", "the plan")
    ada.pillarbox("share", ada.name, bob.name, "--mailbox", "Projects", "--rights", "write")
    bob.receive("mine")
    theirs = f"Other Users/{ada.name}/Projects"
    bob.subscribe(theirs)
    bird = started(bob)
    listed = bird.run(
        """
        await until(() => folder(args[0]));
        await until(async () => { await update(args[0]); return message(args[0], "the plan") });
        await until(() => message("INBOX", "mine"));
        folder(args[0]).markMessagesFlagged([message(args[0], "the plan")], true);
        await update(args[0]);
        const moved = [message("INBOX", "mine")];
        await copied(l => MailServices.copy.copyMessages(folder("INBOX"), moved, folder(args[0]), true, l, null, true));
        await until(async () => { await update(args[0]); return subjects(args[0]).length == 2 });
        return subjects(args[0]);""",
        theirs,
    )
    assert sorted(listed) == ["mine", "the plan"]
    eventually(lambda: "\\Flagged" in ada.flags("Projects")["the plan"])
    assert set(ada.flags("Projects")) == {"mine", "the plan"}
    eventually(lambda: bob.flags() == {})
