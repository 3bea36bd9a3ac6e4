"""While one partition has no leader, those of the others in the same batch are sent again and again, for ever.

Only where the profile's `timeout` is shorter than `connection.request_timeout_ms` (30 s and 20 s by default, so not by
default). `Producer.publish` waits for all partitions of a batch together. aiokafka gives the one without a leader up
after request_timeout_ms, and then each partition has its own outcome. Where the lane's deadline comes first, it cancels
the wait, and the whole batch counts as of unknown outcome, events too that were confirmed long ago: each try repeats
them, and the lane delivers nothing.
"""

from tests.faults.conftest import *  # noqa: F403 - the fixtures
from tests.faults.test_leaderless import kafka_cluster, without_a_leader  # noqa: F401 - a fixture


async def test_a_partition_without_a_leader_repeats_no_event_of_another(kafka_cluster, fresh_name):  # noqa: F811
    verdict = await without_a_leader(kafka_cluster, fresh_name)
    assert verdict.repeats == 0
