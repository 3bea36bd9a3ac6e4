"""amqp/hosts.py: which host of a cluster a connection goes to, and what happens when one fails."""

import asyncio
import socket
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.amqp import hosts as module
from evbus_like.amqp.hosts import Hosts, host_of
from evbus_like.amqp.settings import targets
from evbus_like.engine.errors import DestinationRefused, TransientError


class Link:
    """A connection that was opened, and counts as one of its host until it is closed."""

    def __init__(self, target):
        self.target, self.host, self.closed = target, host_of(target), False
        self.host.opened()

    async def close(self):
        self.closed = True
        self.host.closed()


class Cluster:
    """Hosts by address; those in `down` fail with the error, those in `frozen` never answer."""

    def __init__(self, down=(), frozen=()):
        self.down, self.frozen = dict(down), set(frozen)
        self.tried, self.links = [], []

    async def open_one(self, target):
        name = target.url.host
        self.tried.append(target.address or name)
        await asyncio.sleep(0)
        if name in self.frozen:
            await asyncio.Event().wait()
        if name in self.down:
            host_of(target).failed()
            raise self.down[name]
        self.links.append(Link(target))
        return self.links[-1]


def hosts(*names, port=5672):
    return Hosts(targets({"connection": {"hosts": [f"{name}:{port}" for name in names]}}))


@pytest.fixture(autouse=True)
def no_name_service(monkeypatch):
    """Names have the addresses of `ADDRESSES`; all others are unknown."""

    async def resolve(self, host, port, **_options):
        if host not in ADDRESSES:
            raise socket.gaierror(-2, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, 1, 6, "", (address, port))
            for address in ADDRESSES[host]
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)
    module._known.clear()


ADDRESSES = {"many": ["10.1.0.1", "10.1.0.2", "10.1.0.3"], "both": ["::2", "10.2.0.1"]}
LOST = TransientError("cannot connect to RabbitMQ at a: refused")


async def test_connections_of_one_process_spread_over_the_hosts():
    cluster, one, other = Cluster(), hosts("a", "b", "c"), hosts("c", "b", "a")

    for _ in range(3):
        await one.connect(cluster.open_one)
        await other.connect(cluster.open_one)

    assert Counter(link.target.url.host for link in cluster.links) == {"a": 2, "b": 2, "c": 2}


async def test_the_first_host_is_a_random_one():
    seen = set()
    for _ in range(50):
        module._known.clear()
        seen.add((await hosts("a", "b", "c").connect(Cluster().open_one)).target.url.host)

    assert seen == {"a", "b", "c"}


async def test_the_next_host_is_tried_at_once_after_a_failure():
    cluster = Cluster(down={"a": LOST, "b": LOST})

    async with asyncio.timeout(module.NEXT_AFTER / 2):
        link = await hosts("a", "b", "c").connect(cluster.open_one)

    assert link.target.place == "c:5672"


async def test_a_host_that_does_not_answer_is_passed_and_its_attempt_ended(monkeypatch):
    monkeypatch.setattr(module, "NEXT_AFTER", 0.01)
    cluster = Cluster(frozen={"a", "b"})

    link = await hosts("a", "b", "c").connect(cluster.open_one)

    assert link.target.place == "c:5672"
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_host_that_failed_comes_last_for_a_while_and_in_all_profiles():
    cluster = Cluster()
    known = host_of(hosts("a").targets[0])
    known.failed()

    for _ in range(10):
        await (await hosts("a", "b").connect(cluster.open_one)).close()

    assert set(cluster.tried) == {"b"}


async def test_a_host_that_failed_is_tried_first_again_after_its_rest(monkeypatch):
    cluster, known = Cluster(), host_of(hosts("a").targets[0])
    known.failed()
    await hosts("a", "b").connect(cluster.open_one)
    now = module.monotonic()
    monkeypatch.setattr(module, "monotonic", lambda: now + module.LONGEST_REST + 1)

    await hosts("a", "b").connect(cluster.open_one)

    assert cluster.tried == ["b", "a"]


async def test_all_hosts_are_tried_although_all_failed_a_moment_ago():
    cluster, all_of_them = Cluster(down={"a": LOST, "b": LOST}), hosts("a", "b")
    with pytest.raises(TransientError):
        await all_of_them.connect(cluster.open_one)
    cluster.down.clear()

    assert await all_of_them.connect(cluster.open_one)


async def test_the_error_names_all_hosts_in_the_order_of_the_profile():
    down = {name: TransientError(f"cannot connect to {name}") for name in "abc"}

    for _ in range(10):  # the same text every time: a new one would be logged again
        with pytest.raises(TransientError) as caught:
            await hosts("a", "b", "c").connect(Cluster(down).open_one)
        assert str(caught.value) == (
            "none of 3 hosts can be used: cannot connect to a; cannot connect to b; cannot connect to c"
        )


async def test_the_error_of_a_single_host_is_its_own():
    with pytest.raises(TransientError) as caught:
        await hosts("a").connect(Cluster({"a": LOST}).open_one)

    assert caught.value is LOST


@pytest.mark.parametrize(
    ("other", "kind"), [(DestinationRefused, DestinationRefused), (TransientError, TransientError)]
)
async def test_hosts_refuse_together_only_if_each_of_them_does(other, kind):
    down = {"a": DestinationRefused("wrong password"), "b": other("not that either")}

    with pytest.raises(kind):
        await hosts("a", "b").connect(Cluster(down).open_one)


async def test_all_addresses_of_a_name_are_tried():
    cluster = Cluster({"many": LOST})

    with pytest.raises(TransientError):
        await hosts("many").connect(cluster.open_one)

    assert sorted(cluster.tried) == ADDRESSES["many"]


async def test_connections_spread_over_the_addresses_of_a_name_which_messages_show():
    cluster = Cluster()
    for _ in range(3):
        await hosts("many").connect(cluster.open_one)

    assert sorted(link.target.place for link in cluster.links) == [
        f"many:5672 ({address})" for address in ADDRESSES["many"]
    ]


async def test_an_address_of_the_other_family_is_the_second_choice_and_not_shown():
    cluster = Cluster()
    for _ in range(3):
        await hosts("both").connect(cluster.open_one)

    assert cluster.tried == ["::2"] * 3
    assert cluster.links[0].target.place == "both:5672"


@pytest.mark.parametrize(
    ("connection", "heartbeat"),
    [("amqp://many", "10"), ("amqp://many?heartbeat=30", "30"), ("amqp://both", None), ("amqp://10.0.0.1", None)],
)
async def test_a_name_with_several_addresses_has_the_short_heartbeat_of_a_cluster(connection, heartbeat):
    link = await Hosts(targets({"connection": connection})).connect(Cluster().open_one)

    assert link.target.url.query.get("heartbeat") == heartbeat


async def test_an_unknown_name_does_not_keep_the_others_from_being_tried():
    link = await hosts("unknown", "10.0.0.1").connect(Cluster({"unknown": LOST}).open_one)

    assert link.target.place == "10.0.0.1:5672"


async def test_a_cancelled_connect_leaves_nothing_behind():
    connecting = asyncio.create_task(hosts("a", "b").connect(Cluster(frozen={"a", "b"}).open_one))
    for _ in range(5):
        await asyncio.sleep(0)
    connecting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_bug_is_not_taken_for_a_host_that_failed():
    with pytest.raises(ZeroDivisionError):
        await hosts("a", "b").connect(Cluster({"a": ZeroDivisionError(), "b": ZeroDivisionError()}).open_one)


async def test_each_host_is_checked_and_those_that_fail_are_named():
    down = {name: TransientError(f"cannot connect to {name}") for name in "bc"}
    cluster = Cluster(down)

    with pytest.raises(TransientError, match="2 of 3 hosts cannot be used: cannot connect to b; cannot connect to c"):
        await hosts("a", "b", "c").each(cluster.open_one)
    assert await hosts("a").each(cluster.open_one) is None


@given(st.permutations("abcde"), st.data())
def test_a_connection_opens_if_any_host_works_and_no_other_stays_open(names, data):
    down = data.draw(st.sets(st.sampled_from("abcde"), max_size=4))
    resting = data.draw(st.sets(st.sampled_from("abcde")))

    async def connect():
        module._known.clear()
        of_all, cluster = hosts(*names), Cluster(dict.fromkeys(down, LOST))
        known = [host_of(target) for target in of_all.targets]
        for host, name in zip(known, names, strict=True):
            if name in resting:
                host.failed()
        link = await of_all.connect(cluster.open_one)
        assert link.target.url.host not in down
        assert [each for each in cluster.links if not each.closed] == [link]
        assert len(cluster.tried) == len(set(cluster.tried))

    asyncio.run(connect())
