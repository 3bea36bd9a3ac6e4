"""hub.shop.stock: what handlers use of their application."""


async def take(hub, number):
    print(f"{hub.OPT.shop.greeting}, order {number}", flush=True)
