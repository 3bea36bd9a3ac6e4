"""processes/count.py and the setting processes: which numbers of workers there may be."""

import math
import os

import pytest

from evbus_like import workers
from evbus_like.engine.errors import SettingError
from evbus_like.engine.suggest import shown
from evbus_like.hub.profiles import settings
from evbus_like.processes import count

WRONG = [0, -1, "0", "-1", "+-1", "two", "", "1.5", 1.5, 257, "257", "9" * 5000, True, None, "²", "1_0", [4], 10**5000]


@pytest.mark.parametrize("wanted", WRONG, ids=shown)
def test_a_number_that_cannot_be_is_refused_and_the_message_names_the_bounds(wanted):
    with pytest.raises(SettingError, match="must be a whole number from 1 to 256, or auto, not") as caught:
        count.count(wanted)

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("wrong", ["10s", "", -1, math.nan, math.inf, None, True, [1], 10**5000], ids=shown)
def test_a_wrong_stop_timeout_of_a_program_of_several_processes_is_named(wrong):
    with pytest.raises(SettingError, match=r"^stop_timeout must be a number of seconds") as caught:
        workers.run(lambda: None, processes=None, stop_timeout=wrong)

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("wanted", "number"), [(1, 1), ("4", 4), (" 12 ", 12), (256, 256), ("+2", 2)])
def test_a_number_within_the_bounds_is_taken(wanted, number):
    assert count.count(wanted) == number


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "257", "1.5", 0, 257])
def test_the_setting_is_checked_as_others_are(one_hub, wanted):
    problem, _ = settings.checked("processes", wanted)

    assert problem.startswith("must be a whole number of processes from 1 to 256, or auto, not ")


@pytest.mark.parametrize(("wanted", "value"), [("auto", "auto"), ("3", 3), (3, 3), (None, None)])
def test_the_setting_may_be_a_number_or_auto(wanted, value):
    assert settings.checked("processes", wanted) == ("", value)


@pytest.mark.parametrize(
    ("outer", "inner", "cpus"),
    [("max 100000", "max 100000", 8), ("max 100000", "150000 100000", 2), ("50000 100000", "max 100000", 1)],
)
def test_auto_is_one_for_each_cpu_within_the_quotas_of_the_cgroups(tmp_path, monkeypatch, outer, inner, cpus):
    (tmp_path / "slice" / "unit").mkdir(parents=True)
    (tmp_path / "slice" / "cpu.max").write_text(outer + "\n")
    (tmp_path / "slice" / "unit" / "cpu.max").write_text(inner + "\n")
    (tmp_path / "membership").write_text("1:name=systemd:/\n0::/slice/unit\n")
    monkeypatch.setattr(count, "CGROUPS", tmp_path)
    monkeypatch.setattr(count, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    assert count.count("auto") == cpus


def test_auto_needs_no_cgroups(tmp_path, monkeypatch):
    monkeypatch.setattr(count, "MEMBERSHIP", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)

    assert count.count("auto") == 3
