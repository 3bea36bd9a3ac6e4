"""The contract of an application's `event` folder.

A file is a service, a public function in it an event, its signature the schema. The function itself never runs::

    # myapp/event/auth.py, found because myapp/conf.py has DYNE = {"event": ["event"]}

    async def user_created(hub, username: str, email: str, plan: str = "free"):
        \"\"\"A user has signed up.\"\"\"                 # the description in the schema

    await hub.event.auth.user_created(username="adam", email="adam@example.com")     # puts it, returns the receipt

Constants, both optional::

    SERVICE = "users"                          # the service, if it is not the file's name
    PROFILE = "audit"                          # the event profile; "default" without it

Parameters. The first is `hub`; all others are names of the body. A type hint is checked and values are cast to it, in
puts and in handlers. Without a hint, every value that the serializer takes is allowed. Hints are builtin types,
`datetime`, `date`, `time`, `Decimal`, `UUID`, `Enum`, `bytes`, dataclasses, NamedTuples, TypedDicts, `Literal`, unions,
and `list`, `dict`, `set`, `tuple` of them. `*args`, `**kwargs` and positional-only parameters are not allowed. A
default must match its hint.

Names. Functions with a leading underscore, imported functions and functions in `init.py` are not events.

On the hub, an object replaces the function::

    await hub.event.auth.user_created(**names)          # put the event, return its receipt
    hub.event.auth.user_created.fire(**names)           # the same in code without an event loop
    hub.event.auth.user_created.nowait(**names)         # put it without waiting, return its id
    hub.event.auth.user_created.schema()                # return the JSON Schema of the body
    hub.event.auth.user_created.check(body)             # return a received body, cast to the hints

A wrong declaration, or a file that cannot be imported, is logged at once. Using the event, starting the bus and
`hub.evbus.events.bind()` raise DeclarationError that names every problem.

This file defines no function: pop would require the signature of every event.
"""
