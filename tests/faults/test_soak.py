"""The soak in short: everything of the long form but the broker restarts, which other tests have."""

import pytest

from tests.brokers.outside import OutsideBroker
from tests.faults.soak.__main__ import arguments, run
from tests.faults.soak.summary import summarize

SHORT = ["--minutes", "0.2", "--kills", "2", "--torn", "2", "--longest", "1.5", "--pause", "0.02", "--seed", "1"]


@pytest.mark.fault(24, 25, 26)
async def test_a_short_soak_with_kills_full_disks_and_torn_outboxes_finds_no_violation(
    rabbitmq, kafka, fleet, tmp_path
):
    for broker in (rabbitmq, kafka):
        if isinstance(broker, OutsideBroker):
            broker.start()  # skips
    # Given a publisher that is killed and one that is not, with every kind of profile
    given = arguments([*SHORT, "--only", "disk|reset|cut in mid|port closed"])
    # When connections break, the disk fills up, and outboxes are torn
    summary = summarize(await run(given, fleet, tmp_path))
    # Then every put that returned is accounted for
    assert summary["violations"] == []
    assert summary["kills"] == 2
    assert min(publisher["delivered"] for publisher in summary["publishers"].values()) > 100
    # And the faults did happen
    assert summary["puts_refused_by_the_full_disk"] > 0
    assert summary["torn"]["torn_away"] > 0
    assert summary["torn"]["arrived"] > 0
