"""What the tests of NOTIFY have in common: a client that listens between its commands."""


async def told(client, count=1):
    """The next untagged responses, which nobody asked for."""
    return [(await client.response()).removeprefix(b"* ") for _ in range(count)]


async def silent(house, client):
    """Nothing is told that was not asked for. What waits is told before the next command is answered."""
    for view, _ in list(house.node.accounts._views.values()):
        await view.settle()
    return await client.ok("CAPABILITY") == [client.capabilities]


async def listening(house, specification, mailbox=None, *, enable=None, user=None, node=None):
    """A client that has set NOTIFY."""
    options = {} if user is None else {"user": user}
    client = await house.login(mailbox, enable=enable, node=node, **options)
    (client.capabilities,) = await client.ok("CAPABILITY")
    client.introduced = await client.ok(f"NOTIFY SET {specification}")
    return client
