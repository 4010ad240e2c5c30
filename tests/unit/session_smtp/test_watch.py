from pillarbox.access.authenticate import Identity
from pillarbox.session.watch import LoginWatch, MailboxWatch


def test_sessions_hear_of_their_mailbox_and_of_their_account():
    watch, heard = MailboxWatch(), []
    watch.mailbox(7, "a", lambda: heard.append("a"))
    watch.mailbox(7, "b", lambda: heard.append("b"))
    watch.user(1, "c", lambda ids: heard.append(f"c {ids}"))
    watch.changed({(1, 7)})
    assert sorted(heard) == ["a", "b", "c [7]"]
    heard.clear()
    watch.leave_mailbox(7, "a")
    watch.leave_user(1, "c")
    watch.changed({(1, 7), (2, 9)})
    assert heard == ["b"]


def test_a_session_may_leave_while_it_is_told():
    watch, heard = MailboxWatch(), []

    def leave():
        heard.append("a")
        watch.leave_mailbox(7, "a")

    watch.mailbox(7, "a", leave)
    watch.changed({(1, 7)})
    watch.changed({(1, 7)})
    assert heard == ["a"]


class Session:
    reason = None

    def log_out(self, reason):
        self.reason = reason


class FakeAuthenticator:
    def __init__(self, *old):
        self.old = old

    async def outdated(self, identities):
        return [identity for identity in identities if identity in self.old]


async def test_sessions_with_old_credentials_are_ended():
    ada, bob = Identity(1, "ada", "ada@x", "user", 1), Identity(2, "bob", "bob@x", "user", 1)
    logins = LoginWatch(FakeAuthenticator(ada))
    sessions = [Session(), Session(), Session()]
    logins.add(ada, sessions[0])
    logins.add(bob, sessions[1])
    logins.add(ada, sessions[2])
    await logins.check()
    assert [session.reason is not None for session in sessions] == [True, False, True]
    logins.remove(bob, sessions[1])
    logins.remove(ada, sessions[0])
    assert not logins._sessions
