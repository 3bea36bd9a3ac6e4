"""Processes that store events in the application's transactions are killed: the short form of postgres_kills."""

import random

from tests.brokers.postgres import PostgreSQL
from tests.brokers.rabbitmq import RabbitMQ
from tests.faults.postgres_kills import run


async def test_every_committed_event_is_received_and_no_other_when_processes_and_servers_are_killed(
    postgres: PostgreSQL, rabbitmq: RabbitMQ
) -> None:
    outcome = await run(postgres, rabbitmq, kills=6, seed=random.randrange(10**6))
    assert outcome.good, outcome
    assert outcome.committed > 100
    assert outcome.rolled_back > 10
