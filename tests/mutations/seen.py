"""Mutants of what is seen from outside: the HTTP port, the status document, the metrics."""

from tests.mutations.change import drop, never, value
from tests.mutations.mutant import Mutant
from tests.mutations.place import COUNTING, IF, RETURN

MUTANTS = (
    Mutant(
        "every-token-is-right",
        "Without the token nobody reads the HTTP port.",
        "Access.allows",
        value(RETURN(2, of=2), "True"),
        "tests/unit/test_monitor_address.py::test_only_the_whole_token_is_right",
    ),
    Mutant(
        "a-dead-destination-is-ready",
        "A destination that cannot be reached is a reason why the process is not ready.",
        "document._reasons",
        never(IF(4, of=5)),
        "tests/in_memory/test_http.py::test_it_says_in_words_and_json_why_it_is_not_ready",
    ),
    Mutant(
        "a-dropped-reader-is-not-counted",
        "A client of the live stream that takes nothing is dropped and counted.",
        "Stream.follow",
        drop(COUNTING(2, of=3)),
        "tests/unit/test_monitor_stream.py"
        "::test_a_follower_that_takes_nothing_is_dropped_and_counted_and_the_others_go_on",
    ),
)
