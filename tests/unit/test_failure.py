"""engine/failure.py: which of the four kinds a failure is."""

import asyncio
import errno

import pytest

from evbus_like.engine.errors import ConnectionLost, DestinationRefused, PoisonEvent, TransientError, UnknownOutcome
from evbus_like.engine.failure import chain, classify


@pytest.mark.parametrize("kind", [TransientError, PoisonEvent, DestinationRefused, UnknownOutcome])
def test_a_plugin_s_own_word_is_kept(kind):
    error = kind("why")

    assert classify(error) is error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("slow"), UnknownOutcome),
        (asyncio.CancelledError(), TransientError),
        (ConnectionResetError("gone"), ConnectionLost),
        (ConnectionError("it closed the connection"), ConnectionLost),
        (OSError(errno.ECONNREFUSED, "refused"), TransientError),
        (OSError(errno.EHOSTUNREACH, "no route"), TransientError),
    ],
)
def test_connection_errors_time_outs_and_a_library_s_cancellations_are_classified(error, kind):
    assert type(classify(error)) is kind


def test_a_time_out_before_anything_was_sent_is_transient():
    assert type(classify(TimeoutError(), sent=False)) is TransientError


def test_the_kind_of_any_other_error_is_not_known():
    assert classify(ValueError("?")) is None


def test_a_chain_of_exceptions_that_ends_in_itself_is_walked_once():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first

    assert list(chain(first)) == [first, second]
