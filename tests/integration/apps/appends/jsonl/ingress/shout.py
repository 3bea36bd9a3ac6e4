"""The smallest ingress plugin: it prints."""

ACCT = ["shout"]


async def publish(hub, ctx, routing_key, body):
    """Print one event."""
    print(ctx.acct.get("prefix", "event"), routing_key, body.decode())
