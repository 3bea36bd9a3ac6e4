"""engine/put_within.py: an event that is put within a transaction is stored with it, serialized, or not at all."""

import pytest

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import BadEvent, BusStopped, EventTooLarge, LifecycleError, SerializeError
from evbus_like.engine.put import Putter
from evbus_like.engine.sending.destination import Asks
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import JSON, Destination, entry, running, until

CONNECTION = object()  # the application's; the engine only hands it on


class Tables:
    """The tables of a database: they keep what was stored within which connection, or raise."""

    def __init__(self, error=None):
        self.serializer = Serializer("of the tables", "text/plain", lambda body: str(body).encode())
        self.error = error
        self.stored = []

    def store_now(self, event, within, **_later):
        if self.error is not None:
            raise self.error
        self.stored.append((event, within))

    async def store(self, event, within, timeout, **_later):
        self.timeout = timeout
        self.store_now(event, within)


def with_tables(bus, error=None):
    bus.bus.tables = tables = Tables(error)
    return tables


async def put(putter, *args, **options):
    return (await putter.put(*args, within=CONNECTION, **options)).id


async def put_nowait(putter, *args, **options):
    return putter.put_nowait(*args, within=CONNECTION, **options)


PUTS = pytest.mark.parametrize("put", [put, put_nowait], ids=["put", "put_nowait"])


@PUTS
async def test_the_event_is_stored_as_its_destination_takes_it_and_nothing_is_sent(put):
    destination = Destination()
    async with running(entry(destination)) as bus:
        tables = with_tables(bus)
        event_id = await put(bus.putter, "placed", {"order": 7}, headers={"shop": "main"}, key="k")
        account = await bus.stop()
    ((event, within),) = tables.stored
    assert within is CONNECTION
    assert (event.id, event.routing_key, event.key, event.headers) == (event_id, "placed", "k", {"shop": "main"})
    assert (event.body, event.content_type) == (b'{"order":7}', "application/json")
    assert destination.received == []
    assert account.put == 0, "the relay puts it after the commit"


async def test_the_receipt_says_that_the_event_is_stored_and_where_it_will_go():
    async with running(entry(name="fake:one"), entry(name="fake:two")) as bus:
        tables = with_tables(bus)
        receipt = await bus.putter.put(body=1, within=CONNECTION, timeout=7)
    assert receipt.stored
    assert receipt.destinations == ("fake:one", "fake:two")
    assert repr(receipt) == f"<Receipt {receipt.id} stored destinations=('fake:one', 'fake:two')>"
    assert tables.timeout == 7


@PUTS
async def test_an_event_that_no_profile_matches_is_stored_in_the_tables_own_form(put):
    async with running(entry(matches=lambda profile: False)) as bus:
        tables = with_tables(bus)
        await put(bus.putter, body=7, profile="later")
    ((event, _),) = tables.stored
    assert (event.profile, event.body, event.content_type) == ("later", b"7", "text/plain")


@PUTS
async def test_what_the_database_raises_is_raised_at_the_put(put):
    async with running(entry()) as bus:
        with_tables(bus, ConnectionError("the connection is closed"))
        with pytest.raises(ConnectionError, match="the connection is closed"):
            await put(bus.putter, body=1)


class Choosy(Destination):
    """A destination that takes no odd numbers, and says so when it is asked."""

    async def open(self):
        await super().open()
        self.asks = Asks(lambda event: "odd numbers are not taken" if event.body == b"1" else None)
        self.on_asks()


@PUTS
@pytest.mark.parametrize(
    ("body", "error", "why"),
    [
        (object(), SerializeError, "cannot be serialized|JSON"),
        ("x" * 100, EventTooLarge, "fake:default takes at most 50"),
        (1, BadEvent, "fake:default does not take the event: odd numbers are not taken"),
    ],
    ids=["not serializable", "too large", "not taken"],
)
async def test_an_event_that_its_destination_would_refuse_is_refused_at_the_put_and_not_stored(put, body, error, why):
    destination = Choosy()
    async with running(entry(destination, max_event_bytes=50)) as bus:
        tables = with_tables(bus)
        await until(lambda: destination.asks)
        with pytest.raises(error, match=why):
            await put(bus.putter, body=body)
        await put(bus.putter, body=2)
    assert [event.body for event, _ in tables.stored] == [b"2"]


@pytest.mark.parametrize("confirm", ["queued", "delivered"])
async def test_no_other_confirmation_can_be_had_before_the_commit(confirm):
    async with running(entry()) as bus:
        tables = with_tables(bus)
        with pytest.raises(BadEvent, match=f"to be delivered after the commit: confirm='{confirm}' cannot be had"):
            await bus.putter.put(body=1, within=CONNECTION, confirm=confirm)
    assert tables.stored == []


@PUTS
async def test_a_bus_that_has_not_started_does_not_know_the_database_and_says_what_to_do(put):
    with pytest.raises(LifecycleError, match=r"needs a started bus, .* await hub\.evbus\.init\.join\(\)"):
        await put(Putter(Bus(lambda failure: None)), body=1)


@PUTS
async def test_a_bus_without_a_database_shows_the_credentials_that_name_one(put):
    async with running(entry()) as bus:
        with pytest.raises(
            LifecycleError, match=r"needs a profile of the provider postgres .*connection: postgresql://"
        ):
            await put(bus.putter, body=1)


@PUTS
async def test_a_stopped_bus_stores_nothing(put):
    async with running(entry()) as bus:
        tables = with_tables(bus)
        await bus.stop()
        with pytest.raises(BusStopped, match="takes no events"):
            await put(bus.putter, body=1)
    assert tables.stored == []


async def test_destinations_of_several_forms_get_the_form_of_the_first():
    text = Serializer("text", "text/plain", lambda body: f"<{body}>".encode())
    async with running(entry(name="a", serializer=text), entry(name="b", serializer=JSON)) as bus:
        tables = with_tables(bus)
        receipt = await bus.putter.put(body=7, within=CONNECTION)
    ((event, _),) = tables.stored
    assert (event.body, event.content_type, receipt.destinations) == (b"<7>", "text/plain", ("a", "b"))
