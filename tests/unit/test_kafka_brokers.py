"""kafka/brokers.py: an aiokafka client beside brokers that do not answer, and that the cluster counts out."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiokafka.client
import pytest
from aiokafka import errors as kafka

from evbus_like.kafka import brokers
from evbus_like.testing import eventually
from tests.unit.test_kafka_leaders import NOBODY

Partitions = dict[str, list[int]]


class Cluster:
    """Brokers by number, at the hosts "b1", "b2", ...; `frozen` ones accept no connection and answer nothing."""

    def __init__(self, *listed: int, topics: Partitions | None = None) -> None:
        self.listed = listed
        self.topics = topics or {}
        self.frozen: set[int] = set()
        self.gone: set[int] = set()
        self.tried: list[tuple[str, int]] = []  # hosts, and the milliseconds that they were given
        self.asked: list[int] = []

    def metadata(self, wanted: list[str] | None) -> Any:
        topics: list[Any] = [
            (0, name, False, [(0, number, leader, [], []) for number, leader in enumerate(leaders)])
            for name, leaders in self.topics.items()
            if wanted is None or name in wanted
        ]
        found = [(number, f"b{number}", 9092, None) for number in self.listed]
        return SimpleNamespace(API_VERSION=1, brokers=found, controller_id=1, topics=topics)

    async def connect(self, host: str, port: int, *, request_timeout_ms: int, **_options: Any) -> Any:
        self.tried.append((host, request_timeout_ms))
        number = int(host[1:])
        if number in self.gone:
            raise OSError("refused")
        if number in self.frozen:
            await asyncio.sleep(60.0)
        return Connection(self, number)


class Connection:
    """A connection to one broker; `waiting` are the requests without an answer."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.waiting: list[asyncio.Future[Any]] = []
        self._requests = self.waiting
        self.open = True

    def connected(self) -> bool:
        return self.open

    def send(self, request: Any, expect_response: bool = True) -> asyncio.Future[Any]:
        self.cluster.asked.append(self.number)
        answer = asyncio.get_running_loop().create_future()
        if self.number in self.cluster.frozen:
            self.waiting.append(answer)
        else:
            answer.set_result(self.cluster.metadata(getattr(request, "_topics", None)))
        return answer

    def close(self, reason: Any = None) -> asyncio.Future[Any]:
        self.open = False
        for answer in self.waiting:
            if not answer.done():
                answer.set_exception(kafka.KafkaConnectionError("closed"))
        closed = asyncio.get_running_loop().create_future()
        closed.set_result(None)
        return closed


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives an aiokafka client, connected to a cluster."""

    async def make(cluster: Cluster, *servers: str) -> Any:
        monkeypatch.setattr(aiokafka.client, "create_conn", cluster.connect)
        monkeypatch.setattr(aiokafka.client, "collect_hosts", lambda hosts: [(host, 9092, 0) for host in hosts])
        monkeypatch.setattr(brokers, "SLOW", 0.01)
        monkeypatch.setattr(brokers, "PAUSE", 0.01)
        monkeypatch.setattr(brokers, "METADATA_WITHIN", 0.01)
        client = aiokafka.client.AIOKafkaClient(bootstrap_servers=list(servers or ("b1",)))
        brokers.follow(client)
        await client.bootstrap()
        return client

    return make


async def test_what_waits_for_a_broker_that_the_cluster_counts_out_fails_at_once(client_of: Any) -> None:
    cluster = Cluster(1, 2)
    client = await client_of(cluster)
    assert await client.ready(2)
    cluster.frozen.add(2)
    # When the cluster goes on without the broker on which a request waits
    cluster.listed = (1,)
    with pytest.raises(kafka.KafkaConnectionError):
        async with asyncio.timeout(10.0):
            await client.send(2, object())
    # Then later requests for it are not sent, either
    with pytest.raises(kafka.NodeNotReadyError):
        await client.send(2, object())
    await client.close()


async def test_a_request_that_waits_for_a_listed_broker_goes_on_waiting(client_of: Any) -> None:
    cluster = Cluster(1, 2)
    client = await client_of(cluster)
    assert await client.ready(2)
    cluster.frozen.add(2)
    request = asyncio.create_task(client.send(2, object()))
    await eventually(lambda: cluster.asked.count(1) > 2)
    assert not request.done()
    # And its answer is taken when it comes
    (connection,) = [each for (node, _), each in client._conns.items() if node == 2]
    connection.waiting[0].set_result("answer")
    assert await request == "answer"
    await client.close()


async def test_metadata_come_from_another_broker_while_one_is_frozen(client_of: Any) -> None:
    cluster = Cluster(1, 2)
    client = await client_of(cluster)
    assert await client.ready(1)
    assert await client.ready(2)
    cluster.frozen.add(1)
    for _ in range(20):
        async with asyncio.timeout(10.0):
            assert await client.force_metadata_update()
    assert cluster.asked.count(1) <= 2  # the first one asked, and one that it was remembered for
    await client.close()


async def test_metadata_do_not_wait_behind_another_request(client_of: Any) -> None:
    cluster = Cluster(1)
    client = await client_of(cluster)
    assert await client.ready(1)
    (connection,) = client._conns.values()
    # Given a broker that has not answered another request: it answers those of one connection in order
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
    connection._requests = answers[:1]
    connection.send = lambda request: answers[1]
    async with asyncio.timeout(10.0):
        assert await client.force_metadata_update()
    assert len(client._conns) == 2
    await client.close()


async def test_a_frozen_broker_does_not_keep_the_client_from_connecting_to_another(client_of: Any) -> None:
    cluster = Cluster(1, 2, 3)
    client = await client_of(cluster)
    cluster.frozen.add(2)
    connecting = asyncio.create_task(client.ready(2))
    await asyncio.sleep(0)
    async with asyncio.timeout(10.0):
        assert await client.ready(3)
    connecting.cancel()
    await asyncio.wait([connecting])
    await client.close()


async def test_a_client_whose_brokers_are_all_gone_begins_again_with_those_of_the_profile(client_of: Any) -> None:
    cluster = Cluster(1, topics={"orders": [2]})
    client = await client_of(cluster, "b1", "b2")
    cluster.gone.add(1)
    cluster.listed = (2,)
    assert await client.set_topics(["orders"])
    assert [broker.nodeId for broker in client.cluster.brokers()] == [2]
    assert client.cluster.partitions_for_topic("orders") == {0}
    await client.close()


async def test_the_servers_of_a_profile_are_tried_for_a_short_time_first(
    client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(1)
    cluster.gone |= {7, 8}
    with pytest.raises(kafka.KafkaConnectionError):
        await client_of(cluster, "b7", "b8")
    soon, late = brokers.CONNECT_SOON * 1000, brokers.CONNECT_WITHIN * 1000
    assert cluster.tried == [("b7", soon), ("b8", soon), ("b7", late), ("b8", late)]


async def test_requests_keep_their_own_timeout(client_of: Any) -> None:
    client = await client_of(Cluster(1))
    assert await client.ready(1)
    (connection,) = client._conns.values()
    assert connection._request_timeout == 40.0
    await client.close()


@pytest.mark.parametrize(
    ("topics", "partitions", "pauses"),
    [
        ({"orders"}, {"orders": [1, 2]}, False),
        (set(), {"orders": [1, 2]}, False),
        ({"orders"}, {"orders": [1, NOBODY]}, True),
        (set(), {"orders": [1, NOBODY]}, True),  # no topics: aiokafka asks for all there are
        ({"orders", "missing"}, {"orders": [1, 2]}, True),
    ],
)
async def test_questions_for_metadata_pause_while_an_answer_leaves_something_open(
    monkeypatch: pytest.MonkeyPatch, client_of: Any, topics: set[str], partitions: Partitions, pauses: bool
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    client = await client_of(Cluster(1, topics=partitions))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(2):
        assert await client._metadata_update(client.cluster, topics)
    assert slept[0] == 0.0
    assert (slept[1] > 0.0) is pauses
    await client.close()
