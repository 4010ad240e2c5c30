"""Roundcube as a person uses it, in its skin `elastic`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from webmail.webdriver import CONTROL, ENTER, Browser, NotThere

_SUBJECTS = "#messagelist tbody tr.message td.subject span.subject a"
_ROW = """
for (const row of document.querySelectorAll('#messagelist tbody tr.message')) {
  const link = row.querySelector('td.subject span.subject a');
  if (link && link.innerText.trim() === arguments[0]) return row.id;
}
return null;"""

_SHOWN = """
const pane = document.querySelector('#messagecontframe').contentWindow;
return pane.document.readyState === 'complete' && pane.rcmail
  && String(pane.rcmail.env.uid) === String(rcmail.message_list.get_single_selection()).split('-')[0];"""

_CHOOSE_TEXT = """
const box = document.querySelector(arguments[0]);
box.value = [...box.options].find(option => option.text.trim() === arguments[1]).value;"""


class Webmail:
    """One person at one browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def forget(self) -> None:
        """Nobody is logged in any more."""
        self.browser.open(self.url + "skins/elastic/watermark.html")
        self.browser.forget()

    def log_in(self, name: str, password: str) -> None:
        self.browser.open(self.url)
        self.browser.type("#rcmloginuser", name)
        self.browser.type("#rcmloginpwd", password)
        self.browser.click("#rcmloginsubmit")

    def enter(self, account: Any, mailbox: str = "INBOX") -> None:
        """Log in and see a mailbox."""
        self.log_in(account.name, account.password)
        self.browser.until(lambda: self.browser.texts("#mailboxlist"), "the list of folders")
        if mailbox != "INBOX":
            self.go(mailbox)
        self.idle()

    def idle(self) -> None:
        """No request is under way."""
        self.browser.until(
            lambda: self.browser.script("return window.rcmail && !rcmail.busy && !jQuery.active"),
            "the end of a request",
        )

    def go(self, mailbox: str) -> None:
        """To a folder, by a click on its name; `mailbox` is the whole name."""
        link = f"//ul[@id='mailboxlist']//a[@rel={_quoted(mailbox)}]"
        self.browser.click(link)
        self.browser.until(lambda: self.browser.script("return rcmail.env.mailbox") == mailbox, mailbox)
        self.idle()

    def to_mail(self) -> None:
        self.browser.click("#taskmenu a.mail")
        self.browser.until(lambda: self.browser.script("return rcmail.env.task") == "mail", "the mail page")
        self.browser.until(lambda: self.browser.texts("#mailboxlist"), "the list of folders")
        self.idle()

    def subjects(self) -> list[str]:
        """Of the list, from its top."""
        return self.browser.texts(_SUBJECTS)

    def lists(self, *subjects: str) -> None:
        """Wait until the list has exactly these, in any order."""
        self.browser.until(lambda: sorted(self.subjects()) == sorted(subjects), f"the list {subjects}")

    def row(self, subject: str) -> str:
        """The place of a message in the list."""
        found = self.browser.until(lambda: self.browser.script(_ROW, subject), f"the message {subject!r}")
        return f"#{found}"

    def select(self, subject: str, *, also: bool = False) -> None:
        """`also`: beside those that are selected."""
        place = self.row(subject) + " td.subject span.subject"
        if also:
            self.browser.click(place, holding=CONTROL)
        else:
            self.browser.click(place)
        self.browser.until(lambda: self.browser.texts(self.row(subject) + ".selected"), f"{subject!r} is selected")
        if not also:  # Roundcube waits a moment before it asks for the text, and takes no other order meanwhile
            self.browser.until(lambda: self.browser.script(_SHOWN), f"{subject!r} is shown")
        self.idle()

    def read(self, subject: str) -> str:
        """The text of a message, in the pane beside the list."""
        self.select(subject)
        with self.browser.frame("#messagecontframe"):
            self.browser.shows(subject, "#message-header h2.subject")
            self.browser.until(lambda: self.browser.texts("#messagebody"), "the text")
            return self.browser.text("#messagebody")

    def tool(self, name: str) -> None:
        """A button above the message."""
        self.browser.click(f"#toolbar-menu a.{name}:not(.disabled)")
        self.idle()

    def more(self, menu: str, popup: str, name: str) -> None:
        """An entry of one of the menus."""
        entry = f"#{popup} a.{name}:not(.disabled)"

        def attempt() -> bool:
            """A menu that has just opened is closed again when the frame beside it gets the focus."""
            if not self.browser.texts(entry):
                self.browser.click(menu)
            try:
                self.browser.click(entry, seconds=1)
            except NotThere:
                return False
            return True

        self.browser.until(attempt, entry)
        self.idle()

    def mark(self, name: str) -> None:
        self.more("#markmessagemenulink", "markmessage-menu", name)
        self.browser.gone(".popover")  # it fades away, and while it does a click only closes it

    def move(self, mailbox: str) -> None:
        """What is selected, by the menu."""
        self.more("#messagemenulink", "message-menu", "move")
        self.browser.click(f"//*[contains(@class, 'popover')]//a[normalize-space()={_quoted(mailbox)}]")
        self.browser.gone(".popover")  # while it fades Roundcube cannot tell entries of menus that they are enabled
        self.idle()

    def refresh(self) -> None:
        """Ask for what is new. The first time tells nothing: of the two requests that a page starts with, the later one
        overwrites in the session what the other had noted of the folder."""
        self.browser.click("a.refresh.toolbar-button")
        self.idle()

    def search(self, words: str, *, scope: str = "base", fields: tuple[str, ...] = ("subject", "from")) -> None:
        """`scope`: base, sub or all; `fields`: subject, from, to, body, text, …"""
        self.browser.click("#mailsearchform")
        self.browser.click("#layout-list .searchbar a.options")
        self.browser.until(lambda: self.browser.texts("#s_scope"), "the options of the search")
        self.browser.script(
            "for (const box of document.querySelectorAll('.searchoptions input[name=\"s_mods[]\"]'))"
            "  if (box.type === 'checkbox' && box.checked !== arguments[0].includes(box.value)) box.click();",
            list(fields),
        )
        self.browser.script("$('#s_scope').val(arguments[0]).trigger('change')", scope)
        self.browser.clear("#mailsearchform")
        self.browser.type("#mailsearchform", words + ENTER)
        self.idle()

    def arrange(self, *, column: str, order: str, threads: bool = False) -> None:
        """How the list is sorted; `order` is ASC or DESC."""
        self.browser.click("#listmenulink")
        wanted = {"sortcol": column, "sortord": order, "threads": "threads" if threads else "list"}
        for name, value in wanted.items():
            self.browser.choose(f"#listoptions-{name}-clone", value)
        self.browser.click(".ui-dialog button.save")
        self.browser.gone(".ui-dialog")
        self.idle()

    def folders(self) -> list[str]:
        """Whole names of the folders beside the list."""
        code = "return [...document.querySelectorAll('#mailboxlist a[rel]')].map(link => link.rel)"
        return list(self.browser.script(code))

    # -- the settings of folders

    def to_folders(self) -> None:
        self.browser.open(self.url + "?_task=settings&_action=folders")
        self.browser.until(lambda: self.browser.texts("#subscription-table"), "the settings of folders")
        self.idle()

    def listed_folders(self) -> list[str]:
        """Whole names of all folders in the settings, subscribed or not."""
        code = "return [...document.querySelectorAll('#subscription-table input[name=\"_subscribed[]\"]')]"
        return list(self.browser.script(f"{code}.map(box => box.value)"))

    def subscription(self, mailbox: str) -> None:
        """Turn it on or off."""
        box = f"//ul[@id='subscription-table']//input[@value={_quoted(mailbox)}]"
        self.browser.click(f"{box}/following-sibling::label")
        self.idle()

    def open_folder(self, mailbox: str) -> None:
        """Its settings."""
        name = mailbox.rpartition("/")[2]
        self.browser.click(f"//ul[@id='subscription-table']//a[normalize-space()={_quoted(name)}]")
        with self.browser.frame("#preferences-frame"):
            self._form("button.submit")

    def _form(self, place: str) -> None:
        self.browser.until(lambda: self.browser.texts(place), place)
        self.idle()

    def create_folder(self, name: str, below: str | None = None) -> None:
        self.browser.click("#toolbar-menu a.create")
        with self.browser.frame("#preferences-frame"):
            self._form("#_name")
            self.browser.type("#_name", name)
            if below:
                self.browser.script(_CHOOSE_TEXT, "#_parent", below)
            self.browser.click("button.submit")
        self._in_the_tree(name)

    def rename_folder(self, mailbox: str, name: str) -> None:
        self.open_folder(mailbox)
        with self.browser.frame("#preferences-frame"):
            self.browser.clear("#_name")
            self.browser.type("#_name", name)
            self.browser.click("button.submit")
        self._in_the_tree(name)

    def delete_folder(self, mailbox: str) -> None:
        self.open_folder(mailbox)
        self.tool("delete")
        self.browser.click(".ui-dialog button.mainaction")
        self.idle()

    def share_folder(self, mailbox: str, user: str, *rights: str) -> None:
        """By the plugin `acl`; `rights` of read, write, delete, other."""
        self.open_folder(mailbox)
        with self.browser.frame("#preferences-frame"):
            self.browser.click("a.create")
        self.browser.type("#acluser", user)
        for right in ("read", "write", "delete", "other"):
            self.browser.check(f"#acl{right}", right in rights)
        self.browser.click(".ui-dialog button.mainaction")
        self.browser.gone(".ui-dialog")

    def _in_the_tree(self, name: str) -> None:
        self.browser.until(lambda: name in self.browser.texts("#subscription-table a"), f"the folder {name!r}")
        self.idle()

    # -- writing

    def compose(self) -> None:
        self.browser.click("#taskmenu a.compose")
        self.browser.until(lambda: self.browser.texts("#composebody"), "the form for a message")

    def write(self, *, to: str | None = None, subject: str | None = None, text: str | None = None) -> None:
        if to is not None:
            self.browser.type("#compose_to input, #compose-to input, .recipient-input input", to + ",")
        if subject is not None:
            self.browser.clear("#compose-subject")
            self.browser.type("#compose-subject", subject)
        if text is not None:
            self.browser.type("#composebody", text)

    def attach(self, path: Path) -> None:
        self.browser.type("#uploadform input[type=file]", str(path))
        self.browser.until(lambda: path.name in str(self.browser.texts("#attachment-list li")), path.name)
        self.browser.until(lambda: not self.browser.texts("#attachment-list li.uploading"), "the upload")
        self.idle()

    def send(self) -> None:
        self.browser.click("button.send")
        self.browser.until(lambda: self.browser.script("return rcmail.env.action") != "compose", "the end of sending")
        self.browser.until(lambda: self.browser.texts("#mailboxlist"), "the list of folders")
        self.idle()


def _quoted(text: str) -> str:
    """An XPath literal; names in tests have no double quotes."""
    return f'"{text}"'
