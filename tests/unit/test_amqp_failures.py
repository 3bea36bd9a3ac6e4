"""amqp/failures.py: what RabbitMQ's closes mean for the events that were in flight."""

import aiormq.exceptions as aiormq
import pytest

from evbus_like.amqp.failures import Closed, not_encoded, publishing
from evbus_like.errors import BatchRejected, ConnectionLost, DestinationRefused, PoisonEvent, TransientError

TOPIC = "ACCESS_REFUSED - write access to topic 'a' in exchange 'x' in vhost '/' refused for user 'u'"


@pytest.mark.parametrize("code", [311, 501, 502, 503, 505, 540])
def test_a_close_for_wrong_frames_is_certainly_about_what_was_sent(code):
    error = publishing(None, "here", Closed(code, "FRAME_ERROR - too large"))
    assert isinstance(error, BatchRejected)
    assert error.certain
    assert "FRAME_ERROR - too large" in str(error)


@pytest.mark.parametrize("code", [402, 403, 504, 506, 530, 541, 999])
def test_a_close_for_another_reason_needs_proof(code):
    error = publishing(aiormq.AMQPError("gone"), "here", Closed(code, ""))
    assert isinstance(error, BatchRejected)
    assert not error.certain
    assert str(code) in str(error)


@pytest.mark.parametrize("code", [200, 320])
def test_a_shutdown_is_about_no_event(code):
    error = publishing(None, "here", Closed(code, "CONNECTION_FORCED - node shutdown"))
    assert type(error) is TransientError


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset"), aiormq.AMQPConnectionError("missed")])
def test_a_connection_that_ends_without_words_is_lost(error):
    assert type(publishing(error, "here")) is ConnectionLost


def test_a_channel_closed_for_one_message_is_a_rejection():
    large = publishing(aiormq.ChannelPreconditionFailed("PRECONDITION_FAILED - message size 5 is larger"), "here")
    topic = publishing(aiormq.ChannelAccessRefused(TOPIC), "here")
    other = publishing(aiormq.ChannelClosed(506, "RESOURCE_ERROR"), "here")
    assert [type(error) for error in (large, topic, other)] == [BatchRejected] * 3
    assert [error.certain for error in (large, topic, other)] == [True, False, False]


@pytest.mark.parametrize("kind", [aiormq.ChannelNotFoundEntity, aiormq.ChannelAccessRefused])
def test_a_channel_closed_for_the_exchange_holds_all_events(kind):
    assert isinstance(publishing(kind("access to exchange 'x' refused"), "here"), DestinationRefused)


def test_an_event_that_cannot_be_encoded_is_poison():
    assert isinstance(not_encoded(OverflowError("int too large")), PoisonEvent)
