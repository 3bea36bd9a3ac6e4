"""Mutants of the lanes and the bus: order, bounds, retries, the account, and the stop."""

from tests.mutations.change import (
    always,
    both,
    builtin,
    drop,
    never,
    nothing_on,
    part,
    repeat,
    value,
    without_the_first,
)
from tests.mutations.mutant import Mutant
from tests.mutations.place import ASSIGNMENT, COMPREHENSION, COUNTING, EXCEPT, IF, KEYWORD, SUBSCRIPT, WITH

UNIT = "tests/unit"

MUTANTS = (
    Mutant(
        "unknown-outcome-is-delivered",
        "An event without a confirm is sent again.",
        "Worker._publish",
        nothing_on("TimeoutError", WITH),
        f"{UNIT}/test_worker.py::test_a_publish_that_hangs_is_cut_off_and_sent_again",
    ),
    Mutant(
        "every-outcome-is-delivered",
        "An unconfirmed event is not counted as delivered.",
        "Worker._settle",
        always(IF(3, of=5)),
        f"{UNIT}/test_worker.py::test_outcomes_settle_each_event_by_itself",
    ),
    Mutant(
        "a-library-s-cancellation-ends-the-worker",
        "A client library that cancels its caller does not end the worker of a lane.",
        "Worker._attempt",
        part(EXCEPT, "type", "Exception"),
        f"{UNIT}/test_worker.py::test_a_batch_that_fails_as_a_whole_is_sent_again_over_a_new_connection",
    ),
    Mutant(
        "resent-out-of-order",
        "Events that are sent again keep their order.",
        "Lane.put_back",
        builtin("extendleft", "extend"),
        f"{UNIT}/test_worker.py::test_what_is_sent_again_goes_before_what_is_behind_it",
    ),
    Mutant(
        "poison-takes-its-neighbours",
        "Only the poison event of a batch is dead-lettered.",
        "Worker._failed",
        never(IF(1, of=5)),
        f"{UNIT}/test_worker.py::test_a_poison_event_is_dead_lettered_alone_and_the_rest_goes_on",
    ),
    Mutant(
        "no-bound-on-a-lane",
        "A full lane makes put wait and put_nowait raise.",
        "Lane._measure",
        value(ASSIGNMENT(2, of=2), "False"),
        f"{UNIT}/test_put.py::test_a_full_lane_raises_from_put_nowait_and_makes_put_wait",
    ),
    Mutant(
        "no-bound-on-the-intake-queue",
        "The intake queue has a bound.",
        "Queue.put_nowait",
        never(IF.holding("QueueFull")),
        f"{UNIT}/test_queue.py::test_a_full_queue_names_itself_and_its_bound",
    ),
    Mutant(
        "a-silent-drop",
        "Every drop is counted.",
        "Lane._drop",
        drop(COUNTING),
        f"{UNIT}/test_durable.py::test_a_lane_that_drops_counts_what_it_drops_and_keeps_its_bounds",
    ),
    Mutant(
        "drops-what-is-on-its-way",
        "drop_old does not drop events that are being sent.",
        "Lane._drop_old",
        both(part(SUBSCRIPT(1, of=2), "slice", "0"), part(SUBSCRIPT(2, of=2), "slice", "0")),
        f"{UNIT}/test_durable.py::test_what_is_on_its_way_is_not_dropped_as_old",
    ),
    Mutant(
        "counted-twice",
        "Every accepted event is in the account exactly once.",
        "Lane.deliver",
        repeat(COUNTING),
        f"{UNIT}/test_lane.py::test_every_event_is_in_the_account_exactly_once",
    ),
    Mutant(
        "no-match-is-silent",
        "An event that no profile matches is counted.",
        "Admission._warn_unmatched",
        drop(COUNTING),
        f"{UNIT}/test_bus.py::test_no_match_is_counted_and_logged_once_a_name",
    ),
    Mutant(
        "delivered-to-some-is-delivered",
        'confirm="delivered" means every destination.',
        "Receipt.delivered",
        builtin("all", "any"),
        f"{UNIT}/test_put.py::test_a_delivered_put_raises_with_the_receipt_when_one_destination_refuses_the_event",
    ),
    Mutant(
        "a-cancelled-put-stays",
        "A put that is cancelled before it is accepted puts no event.",
        "Receipt.wait_accepted",
        drop(ASSIGNMENT),
        f"{UNIT}/test_put.py::test_a_put_cancelled_while_it_waits_for_its_turn_is_out",
    ),
    Mutant(
        "accepts-after-stop",
        "A stopped bus accepts no events.",
        "Bus._become",
        value(ASSIGNMENT(2, of=3), "False"),
        f"{UNIT}/test_put.py::test_a_put_after_stop_raises_and_strands_nothing",
    ),
    Mutant(
        "a-lane-forgotten-at-stop",
        "A stop delivers the queued events of every destination.",
        "Bus._finish",
        without_the_first(COMPREHENSION(1, of=2)),
        f"{UNIT}/test_bus.py::test_a_stop_delivers_what_is_queued_at_every_destination",
    ),
    Mutant(
        "stop-without-a-deadline",
        "A stop ends at its timeout.",
        "Bus._finish",
        value(KEYWORD.holding("timeout"), "None"),
        f"{UNIT}/test_worker.py::test_stop_ends_by_its_deadline_when_everything_hangs",
    ),
    Mutant(
        "a-child-uses-its-parent-s-bus",
        "A forked child gets a clear error.",
        "_close_in_child",
        drop(ASSIGNMENT),
        "tests/processes/test_fork.py::test_a_forked_child_gets_a_clear_error_and_the_parent_goes_on",
    ),
    Mutant(
        "ids-repeat-after-a-fork",
        "Every event has a unique id.",
        "_renew_prefix",
        value(ASSIGNMENT, "'0' * 20"),
        "tests/processes/test_interpreters.py::test_a_forked_child_makes_other_ids",
    ),
    Mutant(
        "certificates-go-unchecked",
        "TLS verifies the certificate and the host name unless the profile explicitly says otherwise.",
        "context",
        both(always(IF(5, of=6)), always(IF(6, of=6))),
        f"{UNIT}/test_tls.py::test_certificates_and_host_names_are_verified_unless_the_profile_says_otherwise_by_name",
    ),
)
