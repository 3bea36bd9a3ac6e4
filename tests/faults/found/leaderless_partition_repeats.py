"""While one partition has no leader, the events of the others in the same batch are sent again, and again, for ever.

`Producer.publish` waits for all partitions of a batch together. The one without a leader never answers, the lane's
deadline cancels the wait, and so the whole batch counts as of unknown outcome, those too that were confirmed long ago.
Each try, every deadline, repeats them; a leader that is away for an hour at the default deadline of 30 s brings
about a hundred copies of each. And the lane delivers nothing else meanwhile.
"""

from tests.faults.conftest import *  # noqa: F403 - the fixtures
from tests.faults.test_leaderless import kafka_cluster, without_a_leader  # noqa: F401 - a fixture


async def test_a_partition_without_a_leader_repeats_no_event_of_another(kafka_cluster, fresh_name):  # noqa: F811
    verdict = await without_a_leader(kafka_cluster, fresh_name)
    assert verdict.repeats == 0
