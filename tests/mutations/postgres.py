"""Mutants of the outbox in the application's database: the puts and the relay."""

from tests.mutations.change import always, never, part
from tests.mutations.mutant import Mutant
from tests.mutations.place import AND, IF

MODEL = "tests/models/test_postgres_relay.py"

MUTANTS = (
    Mutant(
        "the-floor-passes-a-transaction-that-runs",
        "A transaction that commits late is still seen.",
        "Progress.end_look",
        part(AND(1, of=2), "values", "True", 3),
        f"{MODEL}::test_a_transaction_that_goes_on_for_long_is_still_seen_when_it_commits",
    ),
    Mutant(
        "a-row-overtakes-one-that-is-held",
        "Events of one key come in the order of their ids, also where a destination was full.",
        "HandOver.take",
        never(IF(1, of=2)),
        f"{MODEL}::test_an_event_does_not_overtake_one_that_is_held_because_its_destination_was_full",
    ),
    Mutant(
        "a-closed-lane-has-delivered",
        "What the lanes still have at a stop stays in the table.",
        "InFlight.settle",
        never(IF(1, of=3)),
        "tests/integration/test_postgres_relay.py::test_what_the_lanes_still_have_at_a_stop_stays_in_the_table",
    ),
    Mutant(
        "another-database-will-do",
        "A connection that leads to another database than the relay's is refused.",
        "Look.place",
        always(IF(1, of=4)),
        "tests/integration/test_postgres_put.py::test_another_database_than_that_of_the_relay_is_refused",
    ),
)
