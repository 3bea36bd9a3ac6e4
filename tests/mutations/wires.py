"""Mutants of the code that talks to brokers; most are noticed only with a real broker."""

from tests.mutations.change import argument, drop, entry, never, value
from tests.mutations.mutant import Mutant
from tests.mutations.place import AWAIT, CALL, COUNTING, IF, KEYWORD, RAISE

MUTANTS = (
    Mutant(
        "no-answer-is-a-confirm",
        "Events that RabbitMQ had not confirmed when the connection was lost are sent again.",
        "publisher.Slot.lost",
        argument(CALL, 1, "None"),
        "tests/faults/test_lost_connections.py::"
        "test_a_reset_in_the_middle_of_a_frame_marks_no_undelivered_event_as_delivered[rabbitmq-up-40001]",
    ),
    Mutant(
        "a-return-is-a-confirm",
        "An unroutable event is dead-lettered, not delivered.",
        "publisher.Slot.settle",
        never(IF(1, of=3)),
        "tests/faults/test_rabbitmq.py::test_of_events_with_equal_content_only_the_returned_ones_are_dead_lettered",
    ),
    Mutant(
        "not-persistent",
        "A message to RabbitMQ is persistent unless the profile says otherwise.",
        "PublishOptions.of",
        value(KEYWORD.holding("persistent"), "False"),
        "tests/integration/test_amqp_messages.py::test_a_message_says_what_was_put_and_when_and_is_persistent",
    ),
    Mutant(
        "a-refused-record-takes-its-batch-along",
        "Kafka refuses one record: the others of its batch are delivered.",
        "Isolation.refused",
        drop(COUNTING),
        "tests/unit/test_kafka_isolation.py::test_what_is_refused_is_found_and_the_rest_arrives_once_and_in_order[True]",
    ),
    Mutant(
        "a-damaged-record-counts-as-read",
        "A record of Kafka that cannot be parsed becomes a dead letter.",
        "unreadable._headers",
        never(IF(3, of=3)),
        "tests/unit/test_kafka_unreadable.py::"
        "test_a_header_name_that_is_not_utf_8_makes_one_record_unreadable_and_no_other",
    ),
    Mutant(
        "one-replica-is-enough",
        "A confirm from Kafka means that all in-sync replicas have the record.",
        "Producer.__init__",
        entry("acks", "1"),
        "tests/unit/test_kafka_connection.py::"
        "test_a_record_is_confirmed_by_all_replicas_unless_the_profile_says_otherwise",
    ),
    Mutant(
        "bindings-are-not-looked-at-again",
        "A handler whose exchange was deleted gets what is put later.",
        "Bindings._check",
        drop(AWAIT),
        "tests/integration/test_amqp_source_faults.py::"
        "test_a_handler_whose_exchange_is_deleted_gets_the_events_that_are_put_later[deleted]",
    ),
    Mutant(
        "a-foreign-correlation-id-is-rewritten",
        "An answer repeats the bytes of its request's correlation id.",
        "Properties.correlation_id",
        never(IF),
        "tests/unit/test_amqp_messages.py::test_an_answer_repeats_the_bytes_of_its_requests_correlation_id",
    ),
    Mutant(
        "headers-nested-without-end",
        "Headers that are nested too deeply are left out, and cost no recursion.",
        "codec._value",
        drop(RAISE.holding("nested")),
        "tests/unit/test_amqp_codec.py::test_the_depth_of_nested_tables_is_limited",
    ),
    Mutant(
        "a-copy-for-each-attempt",
        "A copy for a retry or a dead letter is sent once, however late its confirm is.",
        "Republisher.send",
        never(IF),
        "tests/unit/test_amqp_receiver.py::test_a_copy_whose_confirm_is_late_or_held_up_by_an_alarm_is_sent_once",
    ),
)
