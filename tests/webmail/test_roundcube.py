"""Roundcube in Chromium against a real server: log in, read, reply, move, search, attach, and what else a day needs."""

import base64
import email
import email.policy
import os

import pytest


def parsed(message: bytes):
    return email.message_from_bytes(message, policy=email.policy.default)


def test_a_wrong_password_is_refused_and_the_right_one_lets_in(mail, site, ada):
    mail.log_in(ada.name, "not the password")
    mail.browser.shows("Login failed", "#messagestack")
    (refusal,) = site.refusals()
    assert "NO [AUTHENTICATIONFAILED]" in refusal
    assert "Login failed" in site.errors()
    mail.enter(ada)
    assert mail.browser.text("#layout-sidebar .username") == ada.name


def test_reading_marks_as_read_and_another_session_sees_it(mail, ada):
    ada.receive("Lunch", "Other")
    mail.enter(ada)
    mail.lists("Lunch", "Other")
    assert mail.read("Lunch") == "Nothing but words."
    mail.browser.until(lambda: ada.flags()["Lunch"] == {"\\Seen"}, "\\Seen")
    assert ada.flags()["Other"] == set()


def test_a_message_of_several_parts_and_charsets(mail, ada):
    content = os.urandom(3000)
    body = (
        "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
        "--c\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "Gr=FC=DFe\r\n--c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Grüße <b>HTML</b></p>\r\n--c--\r\n"
        "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="data.bin"\r\n\r\n'
        + "\r\n".join(base64.encodebytes(content).decode().split())
        + "\r\n--b--"
    )
    more = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    ada.receive("=?utf-8?q?Gr=C3=BC=C3=9Fe_?= =?iso-8859-1?q?aus_K=F6ln?=", body=body, more=more)
    mail.enter(ada)
    assert mail.read("Grüße aus Köln") == "Grüße HTML"
    with mail.browser.frame("#messagecontframe"):
        fetched = mail.browser.script(
            "const link = document.querySelector('#attachment-list a.filename');"
            "return fetch(link.href + '&_download=1').then(r => r.arrayBuffer()).then(b => [...new Uint8Array(b)])"
        )
    assert bytes(fetched) == content


def test_a_reply_reaches_the_other_and_a_copy_is_in_sent(mail, ada, bob):
    ada.receive("Question", more=f"Reply-To: {bob.name}\r\n", body="Shall we?")
    original = parsed(ada.only())
    mail.enter(ada)
    mail.read("Question")
    with ada.imap("Sent") as other:
        other.response("EXISTS")  # what SELECT said is taken out
        mail.tool("reply")
        mail.browser.until(lambda: "> Shall we?" in mail.browser.script("return $('#composebody').val()"), "the quote")
        mail.write(text="Yes, we shall: ÄÖÜ.\n")
        mail.send()
        assert other.noop()[0] == "OK"
        assert other.response("EXISTS") == ("EXISTS", [b"1"])
    got, sent = parsed(bob.only()), parsed(ada.only("Sent"))
    assert got["Subject"] == "Re: Question"
    assert got["In-Reply-To"] == original["Message-ID"]
    assert "ÄÖÜ" in got.get_content()
    assert sent["Message-ID"] == got["Message-ID"]
    assert ada.flags("Sent") == {"Re: Question": {"\\Seen"}}
    assert ada.flags()["Question"] == {"\\Seen", "\\Answered"}


def test_attachments_arrive_as_they_were(mail, ada, bob, tmp_path):
    picture, text = tmp_path / "Bild ä.bin", tmp_path / "notes.txt"
    picture.write_bytes(os.urandom(2_000_000))
    text.write_text("a line\n" * 100)
    mail.enter(ada)
    mail.compose()
    mail.write(to=bob.name, subject="Two files", text="See them.")
    mail.attach(picture)
    mail.attach(text)
    mail.send()
    for message in (parsed(bob.only()), parsed(ada.only("Sent"))):
        found = {part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()}
        assert found == {picture.name: picture.read_bytes(), text.name: text.read_bytes()}


def test_a_draft_is_replaced_and_goes_when_it_is_sent(mail, ada, bob):
    mail.enter(ada)
    mail.compose()
    mail.write(to=bob.name, subject="Slowly", text="first")
    mail.tool("save")
    mail.browser.until(lambda: len(ada.flags("Drafts")) == 1, "a draft")
    mail.write(text=" and second")
    mail.tool("save")
    mail.browser.until(lambda: b"and second" in ada.only("Drafts"), "the draft anew")
    mail.send()
    assert b"first and second" in bob.only()
    mail.browser.until(lambda: ada.flags("Drafts") == {}, "the end of the draft")


def test_messages_move_by_menu_and_by_mouse(mail, ada):
    ada.create("Projects", "Projects/2026")
    ada.receive("one", "two", "three", "four")
    mail.enter(ada)
    mail.lists("one", "two", "three", "four")
    mail.select("one")
    mail.select("two", also=True)
    mail.move("Projects")
    mail.lists("three", "four")
    mail.browser.until(lambda: set(ada.flags("Projects")) == {"one", "two"}, "both in Projects")
    mail.browser.drag(mail.row("three") + " td.subject span.subject", "//ul[@id='mailboxlist']//a[@rel='Archive']")
    mail.lists("four")
    mail.browser.until(lambda: set(ada.flags("Archive")) == {"three"}, "it is in Archive")
    assert set(ada.flags()) == {"four"}
    mail.go("Projects")
    mail.lists("one", "two")


def test_flags_go_both_ways(mail, ada):
    ada.receive("here", "there")
    mail.enter(ada)
    mail.lists("here", "there")
    mail.refresh()
    mail.select("here")
    mail.mark("flag")
    mail.browser.until(lambda: ada.flags()["here"] == {"\\Seen", "\\Flagged"}, "\\Flagged")
    mail.mark("unread")
    mail.browser.until(lambda: ada.flags()["here"] == {"\\Flagged"}, "unread")
    ada.mark("there", "\\Flagged \\Answered")
    ada.receive("new")
    mail.refresh()
    mail.lists("here", "there", "new")
    mail.browser.until(lambda: mail.browser.texts(mail.row("there") + ".flagged"), "the flag of another session")


def test_delete_goes_to_trash_and_from_there_for_good(mail, ada):
    ada.receive("keep", "away")
    mail.enter(ada)
    mail.select("away")
    mail.tool("delete")
    mail.lists("keep")
    mail.browser.until(lambda: set(ada.flags("Trash")) == {"away"}, "it is in Trash")
    assert set(ada.flags()) == {"keep"}
    mail.go("Trash")
    mail.select("away")
    mail.tool("delete")
    mail.browser.until(lambda: ada.flags("Trash") == {}, "the end of the message")


def test_what_another_session_removes_goes_from_the_list(mail, ada):
    ada.receive("stays", "goes")
    mail.enter(ada)
    mail.lists("stays", "goes")
    mail.refresh()
    ada.mark("goes", "\\Deleted")
    with ada.imap() as other:
        other.expunge()
    mail.refresh()
    mail.lists("stays")


@pytest.mark.parametrize(
    ("words", "fields", "found"),
    [
        ("invoice", ("subject",), ["Invoice 1", "Invoice 2"]),
        ("stranger", ("from",), ["Invoice 1", "Invoice 2", "Holiday"]),
        ("zebra", ("body",), ["Holiday"]),
        ("Köln", ("subject", "body"), ["Holiday"]),
        ("nowhere", ("subject", "text"), []),
    ],
)
def test_search_in_a_folder(mail, ada, words, fields, found):
    ada.receive("Invoice 1", "Invoice 2")
    ada.receive("Holiday", body="A zebra in Köln.", more="Content-Type: text/plain; charset=utf-8\r\n")
    mail.enter(ada)
    mail.lists("Invoice 1", "Invoice 2", "Holiday")
    mail.search(words, fields=fields)
    mail.lists(*found)


def test_search_in_all_folders_and_a_filter(mail, ada):
    ada.create("Deep", "Deep/Er")
    ada.receive("needle here", "hay")
    with ada.imap() as other:
        other.append('"Deep/Er"', "\\Flagged", None, b"Subject: needle there\r\n\r\nx\r\n")
    mail.enter(ada)
    mail.lists("needle here", "hay")
    mail.search("needle", scope="all")
    mail.lists("needle here", "needle there")
    assert mail.read("needle there") == "x"
