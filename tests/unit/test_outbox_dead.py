"""engine/outbox/dead_letters.py: events that were given up are kept, found, replayed and purged."""

import time

import pytest

from evbus_like.engine.outbox import DeadFilter, NotInOutbox, OutboxFull
from tests.unit.outboxes import append_one, bodies, content, make, opened


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


async def numbers(outbox, **wanted):
    return [letter.number for letter in await outbox.dead_letters(DeadFilter(**wanted))]


async def test_a_dead_letter_keeps_the_event_and_says_why(path):
    event = make(b"\x00\xffbody", headers={"h": 1.5}, key="k")
    before = time.time()
    async with opened(path) as outbox:
        seq = await append_one(outbox, event, ["a", "b"])
        await outbox.dead_letter("a", seq, "schema does not match", "poison", 3, first_failed=before - 60)
    async with opened(path) as outbox:
        [listed] = await outbox.dead_letters()
        letter = await outbox.read_dead_letter(listed.number)

        assert content(letter.event) == content(event)
        assert (letter.destination, letter.reason, letter.kind) == ("a", "schema does not match", "poison")
        assert (letter.attempts, letter.first_failed) == (3, before - 60)
        assert before <= letter.died <= time.time()
        assert (await bodies(outbox, "a"), await bodies(outbox, "b")) == ([], [b"\x00\xffbody"])


async def test_a_list_does_not_read_the_bodies(path):
    async with opened(path) as outbox:
        await outbox.dead_letter_event("a", make(b"x" * 1000), "no", "poison", 1)
        [listed] = await outbox.dead_letters()

        assert listed.event.body is None
        assert listed.size > 1000


async def test_an_event_that_was_never_in_the_outbox_can_be_dead_lettered(path):
    event = make(1)
    async with opened(path) as outbox:
        number = await outbox.dead_letter_event("memory", event, "no", "poison", 1)

        assert content((await outbox.read_dead_letter(number)).event) == content(event)
        assert outbox.counts().dead == 1


async def test_burying_what_does_not_wait_there_is_an_error(path):
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(), ["a"])
        for destination, number in [("b", seq), ("a", seq + 1)]:
            with pytest.raises(NotInOutbox, match=r"no event .* waits for"):
                await outbox.dead_letter(destination, number, "no", "poison", 1)
        await outbox.dead_letter("a", seq, "no", "poison", 1)
        with pytest.raises(NotInOutbox):
            await outbox.dead_letter("a", seq, "no", "poison", 1)

        assert outbox.counts().dead == 1


async def test_a_full_outbox_still_buries_what_it_holds_and_refuses_what_it_does_not(path):
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(b"x" * 500), ["a"])
        outbox.usage.max_bytes = outbox.counts().bytes + 100
        await outbox.dead_letter("a", seq, "no", "poison", 1)
        with pytest.raises(OutboxFull, match="1 dead letters"):
            await outbox.dead_letter_event("b", make(b"x" * 500), "no", "poison", 1)

        assert outbox.counts().dead == 1


async def test_dead_letters_are_found_by_what_they_are(path):
    async with opened(path) as outbox:
        letters = [
            ("amqp:eu", make(routing_key="orders.created", profile="eu"), "No such Exchange", 1),
            ("amqp:eu", make(routing_key="orders.paid", profile="all"), "access refused", 2),
            ("kafka:us", make(routing_key="users.created", profile="all"), "message too large", 3),
        ]
        for destination, event, reason, attempts in letters:
            await outbox.dead_letter_event(destination, event, reason, "poison", attempts)

        assert await numbers(outbox) == [1, 2, 3]
        assert await numbers(outbox, destination="amqp:eu") == [1, 2]
        assert await numbers(outbox, profile="all") == [2, 3]
        assert await numbers(outbox, routing_key="*.created") == [1, 3]
        assert await numbers(outbox, reason="no such exchange") == [1]
        assert await numbers(outbox, reason="%") == []
        assert await numbers(outbox, destination="amqp:eu", routing_key="orders.p*") == [2]
        assert await numbers(outbox, older_than=time.time() + 1) == [1, 2, 3]
        assert await numbers(outbox, older_than=time.time() - 60) == []
        assert [letter.number for letter in await outbox.dead_letters(limit=1, after=1)] == [2]


async def test_a_replayed_letter_waits_again_with_its_id(path):
    events = [make(n) for n in range(3)]
    async with opened(path) as outbox:
        for event in events:
            await outbox.dead_letter("a", await append_one(outbox, event, ["a"]), "no", "poison", 1)
        replayed = await outbox.replay([3, 1, 77])

        assert [(content(event), destination) for _, event, destination in replayed] == [
            (content(events[0]), "a"),
            (content(events[2]), "a"),
        ]
        assert [(seq, event.id) for seq, event in await outbox.page("a")] == [
            (seq, event.id) for seq, event, _ in replayed
        ]
        assert await numbers(outbox) == [2]
        counts = outbox.counts()
        assert (counts.pending, counts.dead) == ({"a": 2}, 1)
    async with opened(path) as outbox:
        assert outbox.counts() == counts


async def test_a_letter_can_be_replayed_to_another_destination(path):
    async with opened(path) as outbox:
        number = await outbox.dead_letter_event("gone", make(1), "no", "poison", 1)
        await outbox.replay([number], destination="new")

        assert await bodies(outbox, "new") == [b"1"]
        assert await bodies(outbox, "gone") == []


async def test_letters_are_purged_by_number_and_by_filter(path):
    async with opened(path) as outbox:
        for n in range(6):
            await outbox.dead_letter_event("even" if n % 2 == 0 else "odd", make(n), "no", "poison", 1)

        assert await outbox.purge([2, 2, 99]) == 1
        assert await outbox.purge(DeadFilter(destination="even")) == 3
        assert await numbers(outbox) == [4, 6]
        assert outbox.counts().dead == 2
        assert await outbox.purge(DeadFilter()) == 2
        assert (outbox.counts().dead, outbox.counts().bytes) == (0, 0)


async def test_the_number_of_a_letter_is_never_given_again(path):
    async with opened(path) as outbox:
        first = await outbox.dead_letter_event("a", make(), "no", "poison", 1)
        await outbox.purge([first])
    async with opened(path) as outbox:
        assert await outbox.dead_letter_event("a", make(), "no", "poison", 1) > first
        with pytest.raises(NotInOutbox, match=f"no dead letter {first}"):
            await outbox.read_dead_letter(first)


async def test_a_reason_that_is_no_utf8_is_kept_as_well_as_can_be(path):
    async with opened(path) as outbox:
        number = await outbox.dead_letter_event("a", make(), "bad \udcff byte", "poison", 1)

        assert (await outbox.read_dead_letter(number)).reason == "bad \\udcff byte"
