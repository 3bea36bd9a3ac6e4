"""Log records as events: the log plugin `queue`. An application gets the same by --log-plugin queue."""

import asyncio

import pop.hub


async def main() -> None:
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    hub.pop.config.load(["evbus_like"], cli="evbus_like", parse_cli=False, logs=False)
    # profile=audit: without it, the profile of log events is "logger"
    hub.log.queue.setup({**hub.OPT.pop_config, "log_level": "info", "log_handler_options": ["profile=audit"]})
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"audit": {"routing_key": "log"}}}))
    await hub.evbus.init.join()

    hub.log.info("the shop is open")
    hub.log.debug("not at this level")
    hub.log.warning("the shop closes")

    queue = await hub.ingress.internal.get("log")
    for _ in range(2):
        print("event:", hub.serialize.json.load(await asyncio.wait_for(queue.get(), 5)))
    print(await hub.evbus.init.stop())
    await listener


asyncio.run(main())
