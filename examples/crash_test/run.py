"""Two handlers are killed at each of their points, as `bus.crashes` does in a test; one takes money twice."""

import asyncio

from evbus_like.errors import CrashError
from evbus_like.testing import handling, new_hub


class Bank:
    """What outlasts the process: the bank's book, with the keys by which it knows repeats."""

    def __init__(self) -> None:
        self.charges: list[int] = []
        self.keys: set[str] = set()

    async def charge(self, order: int, key: str = "") -> None:
        if not key or key not in self.keys:
            self.charges.append(order)
        self.keys.add(key)


async def main() -> None:
    hub = new_hub()

    def reset() -> None:
        hub.BANK, hub.PAID = Bank(), set()

    async with handling(hub, only="billing") as bus:

        def check() -> None:
            assert hub.BANK.charges == [7], f"the bank has {hub.BANK.charges}"
            assert bus.find("paid"), "nobody hears of it"

        for name in ("careless", "careful"):
            try:
                print(await bus.crashes(f"billing.{name}", {"order": 7}, check=check, reset=reset))
            except CrashError as error:
                print(error)


asyncio.run(main())
