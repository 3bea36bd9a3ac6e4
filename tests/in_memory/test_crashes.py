"""The crash test of the test kit: handlers are killed at each of their points, and their events delivered again."""

import asyncio

import pytest

from evbus_like.errors import CrashError, HandlerError
from evbus_like.testing import handling, new_hub

SHOP = """
    import asyncio
    import contextlib
    import functools
    import sqlite3

    import evbus_like.handlers as evbus

    rows, seen, marks = {}, set(), []
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE charges (id INTEGER)")
    db.commit()

    async def save(order):
        rows[order] = "saved"

    async def charge(order):
        await asyncio.sleep(0)
        rows["charged"] = rows.get("charged", 0) + 1

    @evbus.handler("orders", "safe")
    async def safe(hub, event):
        await save(event.body["id"])
        await hub.evbus.broker.dispatch("shipping", "shipped", event.body, confirm="delivered")

    @evbus.handler("orders", "charged")
    async def repeats(hub, event):
        order = event.body["id"]
        await charge(order)
        await save(order)

    @evbus.handler("orders", "lost")
    async def loses(hub, event):
        order = event.body["id"]
        if order in seen:
            return
        seen.add(order)
        await save(order)
        await hub.evbus.broker.dispatch("shipping", "shipped", event.body, confirm="delivered")

    @evbus.handler("orders", "put_first")
    async def puts_first(hub, event):
        order = event.body["id"]
        if order in seen:
            return
        await hub.evbus.broker.dispatch("shipping", "shipped", event.body)
        seen.add(order)
        await save(order)

    @evbus.handler("orders", "put_delivered")
    async def puts_delivered(hub, event):
        order = event.body["id"]
        if order in seen:
            return
        await hub.evbus.broker.dispatch("shipping", "shipped", event.body, confirm="delivered")
        seen.add(order)
        await save(order)

    @evbus.handler("orders", "cleans_up")
    async def cleans_up(hub, event):
        rows["busy"] = True
        try:
            await save(event.body["id"])
        except BaseException:
            rows["excepted"] = True
            raise
        finally:
            rows["busy"] = False

    class Unit:
        async def __aenter__(self):
            rows["unit"] = "open"

        async def __aexit__(self, *_):
            rows["unit"] = "closed"

    @contextlib.contextmanager
    def noted():
        try:
            yield
        finally:
            rows["noted"] = True

    @evbus.handler("orders", "leaves")
    async def leaves(hub, event):
        async with Unit():
            with noted():
                await save(event.body["id"])

    @evbus.handler("orders", "sync")
    def sync(hub, event):
        order = event.body["id"]
        if db.execute("SELECT 1 FROM orders WHERE id = ?", (order,)).fetchone():
            return
        db.execute("INSERT INTO orders VALUES (?)", (order,))
        db.commit()
        hub.evbus.broker.put_nowait("shipped", event.body)

    @evbus.handler("orders", "sync_safe")
    def sync_safe(hub, event):
        order = event.body["id"]
        with db:
            db.execute("INSERT OR IGNORE INTO orders VALUES (?)", (order,))
        hub.evbus.broker.put_nowait("shipped", event.body)

    @evbus.handler("orders", "two_tables")
    async def two_tables(hub, event):
        order = event.body["id"]
        with db:
            if db.execute("INSERT OR IGNORE INTO orders VALUES (?)", (order,)).rowcount:
                await asyncio.sleep(0)
                db.execute("INSERT INTO charges VALUES (?)", (order,))

    @evbus.handler("orders", "many")
    async def many(hub, event):
        for each in range(50):
            await save(each)

    @evbus.handler("orders", "tasks")
    async def tasks(hub, event):
        async with asyncio.TaskGroup() as group:
            group.create_task(save(1))
            group.create_task(charge(2))

    @evbus.handler("orders", "hangs")
    async def hangs(hub, event):
        if event.redelivered:
            await asyncio.Event().wait()
        await save(1)

    @evbus.handler("orders", "fails")
    async def fails(hub, event):
        if event.redelivered:
            raise ValueError("it was here before")
        await save(1)

    @evbus.handler("orders", "batches", batch=10)
    async def batches(hub, events):
        for event in events:
            await save(event.body["id"])
            await charge(event.body["id"])

    @evbus.handler("orders", "inbox", inbox="shop")
    async def inbox(hub, event):
        await event.transaction.execute("SELECT 1")

    def decorated(function):
        @functools.wraps(function)
        async def call(hub, event):
            marks.append("called")
            return await function(hub, event)
        return call

    @evbus.handler("orders", "decorated")
    @decorated
    async def wrapped(hub, event):
        await save(event.body["id"])
        await charge(event.body["id"])
"""


@pytest.fixture
async def bus(package, monkeypatch):
    monkeypatch.syspath_prepend(package({"handler/shipping.py": SHOP}))
    async with handling(new_hub(), only="shipping.*") as bus:
        yield bus


def shop(bus):
    """The names of the handlers' module."""
    return bus.hub.handler.shipping.safe.func.__globals__


def line_of(text):
    """The number of the first line of the application that has this text."""
    return next(number for number, line in enumerate(SHOP.splitlines(), start=1) if text in line)


def line_in(function, text):
    """The number of the first line after the head of a function that has this text."""
    head = line_of(f"def {function}(")
    return next(number for number, line in enumerate(SHOP.splitlines(), start=1) if number > head and text in line)


def reset(bus):
    def back():
        names = shop(bus)
        for each in ("rows", "seen", "marks"):
            names[each].clear()
        names["db"].rollback()
        with names["db"]:
            names["db"].execute("DELETE FROM orders")
            names["db"].execute("DELETE FROM charges")

    return back


async def tried(bus, name, check, **more):
    more = {"reset": reset(bus), **more}
    return await bus.crashes(f"shipping.{name}", {"id": 7}, check=check, **more)


async def test_a_handler_that_may_be_repeated_passes_at_every_point(bus):
    report = await tried(bus, "safe", lambda: shop(bus)["rows"][7] == "saved" and bus.find("shipped") != [])

    assert [(each.kind, each.after, each.puts_lost) for each in report.points] == [
        ("await", False, False),
        ("await", True, False),
        ("put", False, False),
        ("put", True, False),
        ("end", True, False),
    ]
    assert [each.line for each in report.points[:4]] == [line_of("await save(event.body")] * 2 + [
        line_of('"shipped", event.body, confirm="delivered")')
    ] * 2
    assert "shipping.safe was killed at 5 points without harm" in str(report)


async def test_a_repeat_that_does_harm_is_reported_with_the_line_at_which_the_handler_was_killed(bus):
    def once():
        assert shop(bus)["rows"]["charged"] == 1, "the customer has paid twice"

    with pytest.raises(CrashError) as caught:
        await tried(bus, "repeats", once)

    text = str(caught.value)
    assert f"handler/shipping.py:{line_of('await charge(order)')}: await charge(order)" in text
    assert "after the await at" in text
    assert "AssertionError: the customer has paid twice" in text
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value.__cause__, AssertionError)


async def test_an_event_that_is_missing_is_reported_with_what_was_put(bus):
    with pytest.raises(CrashError) as caught:
        await tried(bus, "loses", lambda: bus.find("shipped") != [])

    text, place = str(caught.value), f"{shop(bus)['__file__']}:{line_in('loses', 'await save(order)')}"
    assert f"before the await at {place}: await save(order)" in text
    assert "check returned False" in text
    assert "put before the kill: nothing; after it: nothing" in text


async def test_events_that_were_only_in_memory_are_lost_with_the_process(bus):
    def is_shipped():
        return bus.find("shipped") != []

    with pytest.raises(CrashError, match="what it had put was lost with the memory of the process"):
        await tried(bus, "puts_first", is_shipped)
    await tried(bus, "puts_first", is_shipped, stored=True)
    await tried(bus, "puts_delivered", is_shipped)


async def test_no_except_and_no_finally_of_the_application_runs_as_none_does_after_a_sigkill(bus):
    found = []

    def note():
        found.append(dict(shop(bus)["rows"]))

    report = await tried(bus, "cleans_up", lambda: None, restart=note)

    assert [(each.get("busy"), "excepted" in each) for each in found] == [(True, False)] * 2 + [(False, False)]
    assert len(report.points) == 3


async def test_no_context_manager_of_the_application_is_left_when_the_handler_is_killed_within(bus):
    found = []

    def note():
        found.append((shop(bus)["rows"].get("unit"), "noted" in shop(bus)["rows"]))

    report = await tried(bus, "leaves", lambda: None, restart=note)

    assert [(each.source, each.after) for each in report.points] == [
        ("async with Unit():", False),
        ("async with Unit():", True),
        ('await save(event.body["id"])', False),
        ('await save(event.body["id"])', True),
        ("the end of: async with Unit():", False),
        ("the end of: async with Unit():", True),
        ("after it had returned, before its event was acknowledged", True),
    ]
    assert found == [(None, False)] + [("open", False)] * 3 + [("open", True), ("closed", True), ("closed", True)]


async def test_a_handler_that_is_not_async_is_killed_at_its_statements_and_its_puts(bus):
    with pytest.raises(CrashError) as caught:
        await tried(bus, "sync", lambda: bus.find("shipped") != [], restart=lambda: shop(bus)["db"].rollback())
    assert f":{line_in('sync', 'db.commit()')}: db.commit()" in str(caught.value)
    assert "after the SQL statement at" in str(caught.value)
    report = await tried(bus, "sync_safe", lambda: bus.find("shipped") != [])
    assert [(each.kind, each.after) for each in report.points if each.kind == "put"] == [
        ("put", False),
        ("put", True),
        ("put", True),  # once more: what it had put was lost
    ]


async def test_a_transaction_that_is_open_when_the_handler_is_killed_is_rolled_back(bus):
    def both():
        for table in ("orders", "charges"):
            assert shop(bus)["db"].execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table

    report = await tried(bus, "two_tables", both)

    assert {each.kind for each in report.points} == {"await", "SQL", "end"}


async def test_a_hundred_points_are_tried_each_once_in_their_order(bus):
    report = await tried(bus, "many", lambda: len(shop(bus)["rows"]) == 50)
    assert len(report.points) == 101
    some = await tried(bus, "many", lambda: len(shop(bus)["rows"]) == 50, most=30)
    assert (some.points, some.untried) == (report.points[:30], 71)


async def test_code_that_the_handler_calls_below_decorators_and_in_tasks_is_cut_too(bus):
    report = await tried(bus, "wrapped", lambda: None)
    assert [each.function for each in report.points].count("charge") == 2
    report = await tried(bus, "tasks", lambda: None)
    assert {each.function for each in report.points} >= {"tasks", "charge"}


async def test_a_handler_of_batches_is_cut_with_a_batch_of_one(bus):
    with pytest.raises(CrashError, match=r"after the await at .*: await charge\(event"):
        await tried(bus, "batches", lambda: shop(bus)["rows"]["charged"] == 1)


async def test_a_handler_that_fails_or_hangs_when_its_event_comes_again_is_reported(bus):
    with pytest.raises(CrashError, match="ValueError: it was here before"):
        await tried(bus, "fails", lambda: None)
    with pytest.raises(CrashError, match=r"not done within 0\.2 s when its event came again: .* restart="):
        await tried(bus, "hangs", lambda: None, timeout=0.2)


async def test_a_check_that_does_not_hold_without_a_crash_says_so(bus):
    with pytest.raises(CrashError, match=r"the check of shipping\.safe does not hold even when nothing crashes"):
        await tried(bus, "safe", lambda: False)


async def test_an_inbox_needs_its_database(bus):
    with pytest.raises(HandlerError, match=r"shipping\.inbox has inbox='shop', .*handling\(postgres="):
        await tried(bus, "inbox", lambda: None)


async def test_the_functions_are_as_they_were_after_the_test(bus):
    function = bus.hub.handler.shipping.repeats.func
    code, names = function.__code__, set(shop(bus))
    with pytest.raises(CrashError):
        await tried(bus, "repeats", lambda: shop(bus)["rows"]["charged"] == 1)
    assert function.__code__ is code
    assert set(shop(bus)) == names


async def test_check_reset_and_restart_may_be_async(bus):
    called = []

    async def note(name):
        await asyncio.sleep(0)
        called.append(name)

    report = await bus.crashes(
        "shipping.safe",
        {"id": 7},
        check=lambda: note("check"),
        reset=lambda: note("reset"),
        restart=lambda: note("restart"),
    )
    assert called.count("restart") == len(report.points)
    assert called[:3] == ["reset", "check", "reset"]
