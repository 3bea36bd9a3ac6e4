ACCT = ["shout"]


async def publish(hub, ctx, routing_key, body):
    print(ctx.acct.get("prefix", ""), routing_key, body.decode())
