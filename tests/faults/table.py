"""The faults that the bus has to survive, and where each is tested; `python -m tests.faults.table` prints it.

The tests of a fault carry its number: `@pytest.mark.fault(7)`. `elsewhere` names its tests in other suites. If there is
no test, `missing` says why.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
INTEGRATION = "tests/integration"
UNIT = "tests/unit"
IN_MEMORY = "tests/in_memory"
CONFORMANCE = "evbus_like/testing/conformance"
MODEL = "tests/models/test_consumer_model.py"


@dataclass(frozen=True)
class Fault:
    """One fault: a sentence, further tests of it as "file::function", and why a part of it is not tested."""

    sentence: str
    elsewhere: tuple[str, ...] = ()
    missing: str = ""


def _tests(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


FAULTS = {
    1: Fault(
        "The broker is killed while events are sent.",
        _tests(f"{INTEGRATION}/test_restarts.py", "a_broker_restart_loses_no_event"),
    ),
    2: Fault("Events are put while nothing is connected."),
    3: Fault(
        "The broker is frozen, or the network swallows everything; the client library cancels its caller.",
        _tests(f"{INTEGRATION}/test_restarts.py", "a_broker_frozen_for_longer_than_the_timeout_loses_no_event"),
    ),
    4: Fault("A connection is reset in the middle of a frame."),
    5: Fault("The broker takes five seconds for a confirm."),
    6: Fault("RabbitMQ raises its memory or disk alarm and blocks publishers."),
    7: Fault(
        "An event is unroutable: no queue is bound for it.",
        (
            "evbus_like/testing/conformance/delivery.py::test_an_unroutable_event_is_refused_or_dead_lettered_and_logged_and_others_are_delivered",
        ),
    ),
    8: Fault("Events are returned while others with equal content are in flight."),
    9: Fault(
        "An event is larger than the broker accepts, which closes the channel.",
        (
            "evbus_like/testing/conformance/bodies.py::test_put_rejects_a_body_over_the_maximum_size_and_the_next_event_is_delivered",
        ),
    ),
    10: Fault(
        "The exchange is missing, or access to it is refused.",
        _tests(
            f"{INTEGRATION}/test_refusals.py",
            "events_for_a_missing_exchange_wait_and_arrive_once_it_exists",
            "events_that_wait_for_a_permission_arrive_once_it_is_granted",
        ),
    ),
    11: Fault("Permissions are revoked while the bus runs."),
    12: Fault(
        "The password is wrong at the start.",
        _tests(
            f"{INTEGRATION}/test_refusals.py",
            "a_wrong_password_in_a_url_is_never_shown",
            "events_that_wait_for_the_right_password_arrive_once_it_is_set",
        )
        + _tests(f"{INTEGRATION}/test_tls.py", "a_wrong_scram_password_is_reported_with_the_address_and_never_shown"),
    ),
    13: Fault(
        "TLS: the authority, the date or the host name of a certificate is wrong.",
        _tests(
            f"{INTEGRATION}/test_tls.py",
            "a_rabbitmq_certificate_of_another_ca_is_refused",
            "a_kafka_certificate_of_another_ca_is_refused",
            "an_expired_certificate_is_refused",
            "a_certificate_for_another_host_is_refused",
            "a_missing_ca_file_stops_the_start_and_never_falls_back_to_plaintext",
        ),
    ),
    14: Fault(
        "A Kafka topic is missing.",
        _tests(
            f"{INTEGRATION}/test_kafka_records.py",
            "events_for_a_missing_topic_of_the_profile_wait_and_arrive_once_it_is_made",
            "an_event_whose_routing_key_is_a_missing_topic_is_given_up_and_the_rest_goes_on",
        ),
    ),
    15: Fault("A partition has no leader."),
    16: Fault("The broker is unreachable while the bus is stopped."),
    17: Fault("Kafka refuses the sequence numbers of a producer, or has fenced it."),
    18: Fault("The clock jumps."),
    19: Fault(
        "Bodies that no format can represent: cycles, huge integers, lone surrogates, deep nesting.",
        _tests(
            f"{UNIT}/test_serialize.py",
            "a_cycle_is_an_error",
            "a_body_nested_deeper_than_the_limit_is_an_error_in_every_format",
        )
        + _tests(
            f"{UNIT}/test_values.py",
            "ints_beyond_64_bits_are_an_error",
            "a_lone_surrogate_is_an_error",
            "bytes_are_base64_in_json_and_themselves_elsewhere",
        )
        + _tests(f"{UNIT}/test_put.py", "an_event_that_is_too_large_for_one_destination_goes_to_none"),
    ),
    20: Fault("One destination is dead beside a fast one."),
    21: Fault(
        "A lane is full and treats new events as its profile says.",
        _tests(
            f"{UNIT}/test_put.py",
            "a_full_lane_raises_from_put_nowait_and_makes_put_wait",
            "only_the_events_for_a_full_lane_wait",
        )
        + _tests(
            f"{UNIT}/test_durable.py",
            "a_lane_that_drops_counts_what_it_drops_and_keeps_its_bounds",
            "spill_keeps_on_disk_what_has_no_room_and_sends_it_in_order",
        ),
    ),
    22: Fault(
        "A put is cancelled.",
        _tests(f"{UNIT}/test_put.py", "cancelling_puts_at_any_moment_leaves_each_in_once_or_out"),
    ),
    23: Fault(
        "The process gets a signal to end while events wait.",
        _tests(f"{INTEGRATION}/test_command.py", "on_a_signal_the_pipe_stops_reading_and_delivers_what_it_has_read")
        + _tests(f"{INTEGRATION}/test_signals.py", "a_signal_stops_the_bus_within_its_deadline_and_the_account_adds_up")
        + _tests(f"{UNIT}/test_durable.py", "a_stop_spills_what_is_left_in_memory"),
    ),
    24: Fault(
        "The process is killed in the middle of a batch.",
        _tests("tests/processes/test_outbox_crash.py", "after_a_kill_everything_is_there_that_an_append_returned_for"),
    ),
    25: Fault(
        "The disk under the outbox is full or fails.",
        _tests(f"{UNIT}/test_durable.py", "a_disk_that_fails_makes_put_raise_and_no_lane_has_the_event")
        + _tests("tests/processes/test_outbox_crash.py", "files_that_may_not_grow_fail_appends_until_they_may"),
    ),
    26: Fault(
        "The outbox file is torn or corrupt.",
        _tests(
            "tests/processes/test_outbox_recovery.py",
            "of_a_truncated_file_what_is_left_is_recovered",
            "garbage_anywhere_never_keeps_the_bus_from_starting",
        ),
    ),
    27: Fault(
        "Two processes share an outbox.",
        _tests(
            "tests/processes/test_outbox_lock.py",
            "a_second_process_is_refused_with_the_owner_s_pid_and_takes_it_after_a_kill",
        ),
    ),
    28: Fault(
        "The process forks while its event loop runs.",
        _tests("tests/processes/test_fork.py", "a_forked_child_gets_a_clear_error_and_the_parent_goes_on"),
    ),
    29: Fault(
        "Events come from threads, other loops, error callbacks, and before any loop.",
        _tests(
            f"{UNIT}/test_put.py",
            "events_can_be_put_before_any_event_loop_exists",
            "threads_put_at_once_and_each_keeps_its_order",
            "another_loop_awaits_put_and_keeps_its_order_with_put_nowait",
        ),
    ),
    30: Fault("The event loop is blocked for ten seconds."),
    31: Fault("There are 10,000 profiles.", _tests(f"{UNIT}/test_router.py", "patterns_are_tried_once_for_a_name")),
    32: Fault(
        "A profile's name is a regular expression that takes too long.",
        _tests(f"{UNIT}/test_match.py", "an_endless_regex_is_stopped_and_says_so")
        + _tests(f"{UNIT}/test_router.py", "a_name_whose_route_cannot_be_found_is_tried_once"),
    ),
    33: Fault(
        "Log records are sent to a destination that fails.",
        _tests(
            f"{IN_MEMORY}/test_log_handler.py",
            "a_destination_that_cannot_deliver_log_records_causes_no_further_records",
        ),
    ),
    34: Fault(
        "Credentials are read again while events wait.",
        _tests(
            "tests/models/test_reload_model.py",
            "over_any_reloads_every_event_arrives_once_and_in_order_where_its_profile_was",
        )
        + _tests(
            f"{UNIT}/test_reload.py",
            "durable_events_of_a_removed_profile_stay_on_disk_and_are_sent_when_it_is_back",
        )
        + _tests(f"{IN_MEMORY}/test_reload_profiles.py", "wrong_profiles_raise_what_start_raises_and_change_nothing"),
    ),
    35: Fault(
        "What a handler needs is down.",
        (
            f"{CONFORMANCE}/deciding.py::test_a_breaker_stops_the_handler_in_an_outage_which_costs_no_attempt_and_no_event",
        ),
    ),
    36: Fault(
        "Workers, or the source, are killed while events wait for a later attempt, or a batch is handled; an event"
        " spoils its batch.",
        (
            f"{CONFORMANCE}/deciding.py::test_an_event_that_waits_for_a_later_attempt_survives_a_kill_of_worker_and_source",
            f"{CONFORMANCE}/batches.py::test_the_events_of_a_batch_whose_worker_is_killed_are_handled_by_another",
            f"{CONFORMANCE}/batches.py::test_an_event_that_spoils_its_batch_is_found_and_the_others_are_handled",
            f"{MODEL}::test_batches_lose_no_event_and_keep_the_order_of_keys_whatever_fails",
        ),
    ),
    37: Fault(
        "A handler is paused and all processes are killed; the disk is full, or the file is damaged.",
        _tests(
            "tests/processes/test_command_pause.py",
            "a_handler_is_paused_in_all_processes_also_after_a_restart_until_it_is_resumed",
        )
        + _tests(
            f"{IN_MEMORY}/test_pauses.py",
            "a_disk_that_is_full_changes_nothing_and_is_named",
            "a_file_that_cannot_be_read_keeps_what_is_paused_and_says_what_to_do",
        ),
    ),
}


def marked() -> dict[int, list[str]]:
    """Give the tests of this folder by their fault numbers."""
    found: dict[int, list[str]] = defaultdict(list)
    for file in sorted(HERE.glob("test_*.py")):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in _numbers(function):
                    found[number].append(f"{file.relative_to(ROOT)}::{function.name}")
    return found


def _numbers(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            yield from map(ast.literal_eval, decorator.args)


def markdown() -> str:
    """Give the table, as Markdown."""
    tests = marked()
    lines = ["| | fault | tests |", "|---|---|---|"]
    for number, fault in FAULTS.items():
        places = [f"`{place}`" for place in (*tests[number], *fault.elsewhere)]
        places += [f"*{fault.missing}*"] if fault.missing else []
        lines.append(f"| {number} | {fault.sentence} | {'<br>'.join(places)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table."""
    print(markdown(), end="")


if __name__ == "__main__":
    main()
