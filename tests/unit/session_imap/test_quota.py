"""QUOTA: limits as a client and an administrator see them."""

from pillarbox.store import directory, quota

ROOT = "user/ada@example.com"


async def limit(h, **limits):
    await h.node.store.write(quota.set_limits, ROOT, **limits)


async def test_usage_is_exact(house):
    async with house() as h:
        c = await h.login()
        assert await c.ok("GETQUOTAROOT inbox") == [b"QUOTAROOT INBOX"]
        await limit(h, storage=1 << 20, messages=3, mailboxes=7)
        await h.put(b"Subject: x\r\n\r\n" + b"x" * 1500, flags=8)
        root = f"QUOTA {ROOT} (STORAGE 2 1024 MESSAGE 1 3 MAILBOX 6 7)".encode()
        assert await c.ok("GETQUOTAROOT inbox") == [f"QUOTAROOT INBOX {ROOT}".encode(), root]
        assert await c.ok(f"GETQUOTA {ROOT}") == [root]
        assert await c.ok("STATUS INBOX (DELETED DELETED-STORAGE)") == [
            b"STATUS INBOX (DELETED 1 DELETED-STORAGE 1514)"
        ]
        await c.ok("CREATE one")
        assert (await c.refused("CREATE two")).startswith(b"NO [OVERQUOTA]")
        assert (await c.refused("GETQUOTAROOT two")).startswith(b"NO [NONEXISTENT]")


async def test_what_is_over_the_quota_is_refused(house):
    async with house() as h:
        c = await h.login()
        await limit(h, messages=2)
        await h.put()
        await c.ok("SELECT INBOX")
        await c.ok("COPY 1 Archive")
        assert (await c.refused("COPY 1 Archive")).startswith(b"NO [OVERQUOTA]")
        assert (await c.refused("APPEND INBOX {}", b"Subject: x\r\n\r\nx")).startswith(b"NO [OVERQUOTA]")
        await c.ok("MOVE 1 Archive")
        assert await c.ok(f"GETQUOTA {ROOT}") == [f"QUOTA {ROOT} (MESSAGE 2 2)".encode()]


async def test_only_an_administrator_sets_quotas(house):
    async with house() as h:
        c = await h.login()
        assert (await c.refused(f"SETQUOTA {ROOT} (STORAGE 1)")).startswith(b"NO [NOPERM]")
        assert (await c.refused("GETQUOTA user/bob@example.com")).startswith(b"NO [NOPERM]")
        await h.add_user("boss@example.com", role="admin")
        boss = await h.login(user="boss@example.com")
        assert await boss.ok(f"SETQUOTA {ROOT} (STORAGE 10 MESSAGE 5)") == [
            f"QUOTA {ROOT} (STORAGE 0 10 MESSAGE 0 5)".encode()
        ]
        user = await h.node.store.read(directory.user, "ada@example.com")
        assert (user.quota_limit, user.quota_messages) == (10240, 5)
        await h.node.store.write(directory.create_domain, "example.com")
        await boss.ok("SETQUOTA domain/example.com (MESSAGE 9)")
        assert len(await c.ok("GETQUOTAROOT Sent")) == 3
        assert (await boss.refused(f"SETQUOTA {ROOT} (ANNOTATION-STORAGE 1)")).startswith(b"NO [CANNOT]")
        assert (await boss.refused(f"SETQUOTA {ROOT} (STORAGE 0)")).startswith(b"NO [CANNOT]")
        assert (await boss.refused("SETQUOTA user/nobody (STORAGE 1)")).startswith(b"NO [NONEXISTENT]")
        assert await boss.ok(f"SETQUOTA {ROOT} ()") == []
        assert await c.ok("GETQUOTAROOT Sent") == [
            b"QUOTAROOT Sent domain/example.com",
            b"QUOTA domain/example.com (MESSAGE 0 9)",
        ]
