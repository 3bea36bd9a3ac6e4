"""What an application's `event` folder holds, and its documentation.

A file is a service, a public function in it an event, its signature the schema. The function is never run::

    # myapp/event/auth.py, found because myapp/conf.py has DYNE = {"event": ["event"]}

    async def user_created(hub, username: str, email: str, plan: str = "free"):
        \"\"\"A user has signed up.\"\"\"                 # goes into the schema

    await hub.event.auth.user_created(username="adam", email="adam@example.com")     # fires it, gives the receipt

Constants, both optional::

    SERVICE = "users"                          # the service, where it is not named as the file
    PROFILE = "audit"                          # the event profile, "default" without it

Parameters. The first is `hub`; all others are names of the body. A hint is checked and cast, on the way out and on the
way in; without one, anything goes that every serializer takes. Hints are builtin types, `datetime`, `date`, `time`,
`Decimal`, `UUID`, `Enum`, `bytes`, dataclasses, NamedTuples, TypedDicts, `Literal`, unions, and `list`, `dict`, `set`,
`tuple` of them. There is no `*args`, no `**kwargs`, nothing positional-only. A default must fit its hint.

Names. Functions with a leading underscore, functions that are imported, and those of `init.py` are no events.

What you get on the hub, in place of the function::

    await hub.event.auth.user_created(**names)          # puts the event; gives its receipt
    hub.event.auth.user_created.fire(**names)           # the same from plain code without an event loop
    hub.event.auth.user_created.nowait(**names)         # hands it over, gives its id, never waits
    hub.event.auth.user_created.schema()                # JSON Schema of the body
    hub.event.auth.user_created.check(body)             # a received body, cast to the hints

A declaration that is wrong, or a file that does not load, is logged at once; using the event, starting the bus and
`hub.evbus.events.bind()` raise DeclarationError, which names each.

No function stands in this file: a signature here would shut every event out that has another.
"""
