"""The curves of how cost grows: a quick run of those legs that need no broker, and pictures of what it found."""

from dataclasses import replace

import pytest

from benchmarks import growth
from benchmarks.brokers import Brokers
from benchmarks.curves import CURVES, Case
from benchmarks.runner import Runner


def needs_no_broker(case: Case) -> bool:
    return not (case.queues or case.topics or case.options.get("rabbitmq"))


@pytest.mark.parametrize("name", CURVES)
def test_a_quick_run_has_every_figure_at_every_size(name):
    curve = replace(CURVES[name], cases=tuple(filter(needs_no_broker, CURVES[name].cases)))
    found = growth.measured(curve, Runner(Brokers(set()), quick=True))
    assert set(found) == {case.name for case in curve.cases}
    for case, of_case in found.items():
        assert list(map(int, of_case)) == list(curve.quick)
        wanted = {line.figure for panel in curve.panels for line in panel.lines if line.case == case}
        for figures in of_case.values():
            assert set(figures) == wanted
            assert min(figures.values()) >= 0
