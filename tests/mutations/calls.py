"""Mutants of calls: timeouts, replies that nobody waits for, and errors of a call."""

from tests.mutations.change import argument, drop, never, part
from tests.mutations.mutant import Mutant
from tests.mutations.place import AWAIT, CALL, COUNTING, DELETE, IF, OR, RAISE

IN_MEMORY = "tests/in_memory"

MUTANTS = (
    Mutant(
        "a-call-without-a-deadline",
        "A call ends at its timeout.",
        "Client.call",
        argument(AWAIT, 2, "1e9"),
        f"{IN_MEMORY}/test_rpc_calls.py::test_a_call_has_a_deadline_and_the_late_answer_is_dropped_and_counted",
    ),
    Mutant(
        "late-answers-are-not-counted",
        "Replies that nobody waits for are counted.",
        "ReplyInvoker.call_now",
        drop(COUNTING(1, of=2)),
        f"{IN_MEMORY}/test_rpc_hostile.py::test_answers_to_calls_that_nobody_made_are_dropped_and_counted",
    ),
    Mutant(
        "a-cancelled-call-stays",
        "A call that is cancelled leaves nothing behind.",
        "Client.call",
        drop(DELETE),
        f"{IN_MEMORY}/test_rpc_flow.py::test_callers_that_are_cancelled_leave_nothing_behind",
    ),
    Mutant(
        "nobody-serves-is-a-timeout",
        "A call of a service that nobody serves fails at once.",
        "Client._send.settled",
        drop(CALL.holding("UnknownService")),
        f"{IN_MEMORY}/test_rpc_calls.py::test_every_way_to_fail_is_an_error_of_its_own_and_comes_at_once",
    ),
    Mutant(
        "an-alarm-runs-methods-again",
        "An answer that RabbitMQ holds during an alarm is waited for, and its request is not given back.",
        "SendBuffer._expire",
        never(IF(2, of=3)),
        "tests/unit/test_rpc_reply.py::test_a_message_that_the_source_holds_has_no_deadline_and_one_again_afterwards",
    ),
    Mutant(
        "answered-before-its-puts-are-safe",
        "A request is answered only when the events that its method put are delivered or stored.",
        "UserCodeInvoker._invoke_once",
        drop(AWAIT(3, of=4)),
        f"{IN_MEMORY}/test_rpc_safe.py::test_a_request_is_answered_only_when_what_its_method_put_is_delivered",
    ),
    Mutant(
        "a-failing-middleware-lets-pass",
        "A failing middleware rejects the message.",
        "middleware._pass",
        drop(RAISE(3, of=3)),
        f"{IN_MEMORY}/test_rpc_middleware.py::test_middleware_that_fails_is_an_answer_to_the_caller_and_no_dead_worker",
    ),
    Mutant(
        "an-answer-of-any-shape",
        "A malformed reply is an error of its call.",
        "wire.result",
        part(OR, "values", "False", at=2),
        f"{IN_MEMORY}/test_rpc_hostile.py::test_an_answer_of_the_wrong_shape_is_an_error_of_that_call_alone",
    ),
)
