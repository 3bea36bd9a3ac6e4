"""Declare an event as a function on the hub, and fire it by calling it; here from a plain script without asyncio.

myapp/ lies beside this file, so pop finds it: its conf.py names the folder event/.
"""

import asyncio
import datetime
import json

import pop.hub

from evbus_like.errors import BadEvent

# Without the routing key, RabbitMQ's exchange would be auth.events, and Kafka's topic, too.
PROFILES = {"internal": {"default": {"routing_key": "out"}}}

hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="evbus")

with hub.evbus.init.background(PROFILES) as bus:
    receipt = hub.event.auth.user_created.fire(username="adam", born=datetime.date(1990, 5, 1))
    print("fired for", receipt.destinations)

    try:
        hub.event.auth.user_created.fire(user="adam", plan=7)
    except BadEvent as error:
        print(error)
    try:
        hub.event.auth.user_created.fire(username="adam", born="yesterday", plan=7)
    except BadEvent as error:
        print(error)
print(bus.account)

# Who receives the event gets the hinted types back.
body = asyncio.run(hub.ingress.internal.get("out")).get_nowait()
print("on the wire:", body)
print("received:", hub.event.auth.user_created.check(json.loads(body)))
print("schema:", json.dumps(hub.event.auth.user_created.schema()["properties"]["born"]))
