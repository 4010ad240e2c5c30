"""Roundcube's settings of folders, and mailboxes that others share: by `pillarbox share` and by Roundcube's own ACL."""


def test_folders_are_made_renamed_and_deleted(mail, ada):
    mail.enter(ada)
    mail.to_folders()
    mail.create_folder("Kunden & Ärger")
    mail.create_folder("2026", below="Kunden & Ärger")
    mail.browser.until(lambda: "Kunden &- &AMQ-rger/2026" in ada.folders(), "both folders")
    ada.append("Kunden &- &AMQ-rger/2026", "a case")
    mail.rename_folder("Kunden & Ärger", "Customers")
    mail.browser.until(lambda: {"Customers", "Customers/2026"} <= ada.folders(), "the new name")
    mail.to_mail()
    mail.go("Customers/2026")
    mail.lists("a case")
    mail.to_folders()
    mail.delete_folder("Customers/2026")
    mail.browser.until(lambda: "Customers/2026" not in ada.folders(), "the end of the folder")
    assert "Customers" in ada.folders()


def test_a_folder_that_is_not_subscribed_is_not_in_the_list(mail, ada):
    ada.create("Seldom")
    mail.enter(ada)
    assert "Seldom" in mail.folders()
    mail.to_folders()
    mail.subscription("Seldom")
    mail.to_mail()
    assert "Seldom" not in mail.folders()
    assert "Seldom" in ada.folders()


def test_a_mailbox_of_another_account_is_used_like_an_own_one(mail, ada, bob):
    ada.create("Projects", "Private")
    ada.append("Projects", "the plan")
    ada.append("Private", "a secret")
    ada.pillarbox("share", ada.name, bob.name, "--mailbox", "Projects", "--rights", "write")
    bob.receive("mine")
    theirs = f"Other Users/{ada.name}/Projects"
    mail.enter(bob)
    mail.to_folders()
    assert theirs in mail.listed_folders()
    assert f"Other Users/{ada.name}/Private" not in mail.listed_folders()
    mail.subscription(theirs)
    mail.to_mail()
    mail.go(theirs)
    mail.lists("the plan")
    assert mail.read("the plan") == "filed here"
    mail.mark("flag")
    mail.browser.until(lambda: ada.flags("Projects")["the plan"] == {"\\Seen", "\\Flagged"}, "ada sees the flag")
    mail.go("INBOX")
    mail.select("mine")
    mail.move("Projects")
    mail.lists()
    mail.browser.until(lambda: set(ada.flags("Projects")) == {"the plan", "mine"}, "ada has it")
    mail.go(theirs)
    mail.select("the plan")
    mail.move("Inbox")
    mail.browser.until(lambda: set(ada.flags("Projects")) == {"mine"}, "it has gone from ada")
    assert set(bob.flags()) == {"the plan"}


def test_a_mailbox_to_read_only_cannot_be_changed(mail, site, ada, bob):
    ada.create("Notices")
    ada.append("Notices", "read me")
    ada.pillarbox("share", ada.name, bob.name, "--mailbox", "Notices", "--rights", "lr")
    bob.subscribe(f"Other Users/{ada.name}/Notices")
    mail.enter(bob)
    mail.go(f"Other Users/{ada.name}/Notices")
    assert mail.read("read me") == "filed here"
    mail.mark("flag")
    mail.browser.shows("Unable to", "#messagestack")
    assert all("STORE" in refusal for refusal in site.refusals())
    site.errors()
    assert ada.flags("Notices") == {"read me": set()}


def test_a_whole_account_that_is_shared(mail, ada, bob):
    ada.receive("for us both")
    ada.pillarbox("share", ada.name, bob.name, "--rights", "full", "--send-as")
    for name in ("INBOX", "Sent"):
        bob.subscribe(f"Other Users/{ada.name}/{name}")
    mail.enter(bob)
    mail.go(f"Other Users/{ada.name}/INBOX")
    mail.lists("for us both")
    assert mail.read("for us both") == "Nothing but words."
    mail.tool("delete")
    mail.lists()
    mail.browser.until(lambda: set(bob.flags("Trash")) == {"for us both"}, "it is in bob's Trash")


def test_roundcube_shares_a_folder_by_acl(mail, ada, bob):
    ada.create("Team")
    ada.append("Team", "all of us")
    mail.enter(ada)
    mail.to_folders()
    mail.share_folder("Team", bob.name, "read")
    mail.browser.until(lambda: f"Other Users/{ada.name}/Team" in bob.folders(), "bob sees the folder")
    assert set(bob.flags(f"Other Users/{ada.name}/Team")) == {"all of us"}


def test_lists_of_many_pages_sorted_and_in_threads(mail, ada):
    with ada.imap() as other:
        for number in range(60):
            text = f"From: p{number % 7}@elsewhere.test\r\nSubject: number {number:02}\r\nMessage-ID: <{number}@t>\r\n"
            text += f"Date: Mon, 7 Feb 2022 21:{number:02}:25 -0800\r\n"
            text += f"References: <{number - 1}@t>\r\n" if number % 2 else ""
            other.append("INBOX", "", None, f"{text}\r\nx\r\n".encode())
    mail.enter(ada)
    numbers = [f"number {number:02}" for number in range(60)]
    mail.browser.until(lambda: mail.subjects() == numbers[:9:-1], "the first page, the newest first")
    mail.browser.click("#layout-list a.nextpage:not(.disabled)")
    mail.browser.until(lambda: mail.subjects() == numbers[9::-1], "the second page")
    mail.browser.click("#layout-list a.prevpage:not(.disabled)")
    mail.browser.until(lambda: mail.subjects() == numbers[:9:-1], "the first page again")
    mail.arrange(column="subject", order="ASC")
    mail.browser.until(lambda: mail.subjects() == numbers[:50], "sorted by subject")
    mail.arrange(column="subject", order="ASC", threads=True)
    mail.browser.until(
        lambda: len(mail.subjects()) == 30 and not any(int(s[-2:]) % 2 for s in mail.subjects()), "threads"
    )
