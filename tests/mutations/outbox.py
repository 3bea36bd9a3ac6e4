"""Mutants of the outbox: what is on the disk, when, and what a restart does with it."""

from tests.mutations.change import always, argument, drop, insert, operator, part, text, value
from tests.mutations.mutant import Mutant
from tests.mutations.place import AND, ASSIGNMENT, AWAIT, CALL, CALLED, IF, OR, RETURN, TUPLE

UNIT = "tests/unit"

MUTANTS = (
    Mutant(
        "replayed-letters-sent-again",
        "A running bus sends letters of its outbox that are replayed, and the next start does not send them again.",
        "Bus.replayed",
        drop(ASSIGNMENT(2, of=2)),
        "tests/in_memory/test_letter_requests.py::test_a_running_bus_sends_replayed_letters_at_once_and_the_account_adds_up",
    ),
    Mutant(
        "scheduled-too-early",
        "An event that was put for later is sent when it is due, never before.",
        "Scheduler._fire",
        argument(CALLED(1, of=4), 1, "1e12"),
        f"{UNIT}/test_later.py::test_an_event_is_sent_when_it_is_due_and_not_before",
    ),
    Mutant(
        "cancelled-and-sent",
        "An event that was cancelled is never sent.",
        "engine.outbox.scheduled.cancel",
        drop(CALL(1, of=1)),
        f"{UNIT}/test_later.py::test_an_event_that_is_cancelled_is_never_sent_and_its_room_is_free_again",
    ),
    Mutant(
        "no-fsync",
        "A commit is on the disk when it returns, not in a cache.",
        "connection.connect",
        text("FULL", "OFF"),
        f"{UNIT}/test_outbox_writer.py::test_every_commit_reaches_the_disk",
    ),
    Mutant(
        "no-commit",
        "An event whose append returned is there after a crash.",
        "Store.commit",
        text("COMMIT", "ROLLBACK"),
        f"{UNIT}/test_outbox_append.py::test_an_append_is_on_the_disk_when_it_returns",
    ),
    Mutant(
        "durable-in-memory-only",
        "An event of a profile with outbox: always is on the disk before put returns.",
        "Lane.must_store",
        value(RETURN(1, of=2), "False"),
        f"{UNIT}/test_durable.py::"
        "test_what_put_has_accepted_is_on_the_disk_and_a_restart_sends_it_in_order_with_its_ids[beside-memory]",
    ),
    Mutant(
        "accepted-before-the-commit",
        "An event of a profile with outbox: always alone is on the disk before put returns.",
        "Commits.store",
        insert("done(None)", before=CALL(1, of=3)),
        f"{UNIT}/test_durable.py::"
        "test_what_put_has_accepted_is_on_the_disk_and_a_restart_sends_it_in_order_with_its_ids[alone]",
    ),
    Mutant(
        "settled-before-confirmed",
        "An event stays on the disk until its destination has confirmed it.",
        "Lane.accept",
        insert("self.forget_stored(event)", before=ASSIGNMENT(3, of=3)),
        f"{UNIT}/test_durable.py::"
        "test_what_put_has_accepted_is_on_the_disk_and_a_restart_sends_it_in_order_with_its_ids[beside-memory]",
    ),
    Mutant(
        "settled-when-handed-over",
        "An event of one lane that stores it stays on the disk until its destination has confirmed it.",
        "Lane.accept_stored",
        insert("[self.forget_stored(each) for each in events]", before=ASSIGNMENT(3, of=3)),
        f"{UNIT}/test_durable.py::"
        "test_what_put_has_accepted_is_on_the_disk_and_a_restart_sends_it_in_order_with_its_ids[alone]",
    ),
    Mutant(
        "never-settled",
        "Delivered events are not sent again by the next start.",
        "Lane.deliver",
        drop(CALL(3, of=5)),
        f"{UNIT}/test_durable.py::test_what_was_delivered_is_not_sent_again",
    ),
    Mutant(
        "new-ids-from-the-disk",
        "An event keeps its id through a restart and a replay.",
        "record.make",
        drop(ASSIGNMENT(2, of=5)),
        f"{UNIT}/test_outbox_dead.py::test_a_replayed_letter_waits_again_with_its_id",
    ),
    Mutant(
        "overtakes-the-backlog",
        "Events that a restart finds on the disk are sent before events put after it.",
        "Lane.accept",
        part(OR(1, of=3), "values", "False", at=1),
        f"{UNIT}/test_durable.py::test_what_a_restart_finds_goes_before_what_is_put_after_it",
    ),
    Mutant(
        "no-checksum",
        "A body that is damaged on the disk is not delivered as if it were intact.",
        "record._walk",
        operator(AND, "or"),
        f"{UNIT}/test_outbox_append.py::test_an_event_that_rots_on_the_disk_is_a_dead_letter_and_the_others_go_on",
    ),
    Mutant(
        "no-recovery",
        "A damaged file never keeps the bus from starting.",
        "recover",
        always(IF(6, of=6)),
        "tests/processes/test_outbox_recovery.py::test_a_garbled_header_is_moved_aside",
    ),
    Mutant(
        "no-lock",
        "Only one process at a time uses an outbox.",
        "lock._try",
        value(RETURN(1, of=2), "True"),
        "tests/processes/test_outbox_lock.py::test_a_second_process_is_refused_with_the_owner_s_pid_and_takes_it_after_a_kill",
    ),
    Mutant(
        "no-bound-on-the-disk",
        "The outbox does not exceed its maximum size.",
        "OutboxUsage.reserve",
        always(IF),
        f"{UNIT}/test_outbox_append.py::test_a_full_outbox_refuses_and_takes_again_when_there_is_room",
    ),
    Mutant(
        "a-silent-drop-for-want-of-disk",
        "Events that a full outbox drops are counted.",
        "commits._drop",
        drop(CALL),
        f"{UNIT}/test_durable.py::test_a_full_outbox_drops_the_new_event_and_counts_it_where_the_profile_says_to_drop",
    ),
    Mutant(
        "failed-disk-is-a-success",
        "If the disk fails, put raises.",
        "Writer._fail",
        part(TUPLE, "elts", "None", at=3),
        f"{UNIT}/test_outbox_writer.py::test_a_disk_that_fails_fails_the_append_and_the_next_works_once_it_is_mended",
    ),
    Mutant(
        "let-go-before-the-dead-letter-is-written",
        "A dead letter is on the disk before its event is removed.",
        "dead_letters.store_dead_letter",
        value(RETURN.holding("TransientError"), "None"),
        f"{UNIT}/test_durable.py::test_an_event_whose_dead_letter_cannot_be_written_stays_and_is_tried_again",
    ),
    Mutant(
        "memory-forgotten-at-stop",
        "A stop stores the events that a spilling lane still has in memory.",
        "Worker._end",
        drop(AWAIT(2, of=3)),
        f"{UNIT}/test_durable.py::test_a_stop_spills_what_is_left_in_memory",
    ),
    Mutant(
        "a-cut-log-without-an-index-is-a-new-one",
        "A log that was cut together with its index is reported.",
        "recovery._had_log",
        value(RETURN(1, of=1), "False"),
        "tests/processes/test_outbox_wal.py::test_a_log_and_an_index_that_are_both_cut_or_zeroed_are_reported",
    ),
    Mutant(
        "a-damaged-mark-is-believed",
        "Damage to the mark of a delivered event makes no other event delivered.",
        "_Salvage._read_marks",
        always(IF(2, of=2)),
        "tests/processes/test_outbox_recovery.py::test_a_mark_that_was_damaged_makes_no_event_delivered[bits = -1]",
    ),
)
