"""Every fault of the table is tested, or has a reason why not."""

import ast

import pytest

from tests.faults.table import FAULTS, ROOT, marked

MARKED = marked()


@pytest.mark.parametrize("number", FAULTS, ids=lambda number: f"fault {number}")
def test_every_fault_has_a_test_or_a_reason(number):
    fault = FAULTS[number]
    assert MARKED[number] or fault.elsewhere or fault.missing, fault.sentence


@pytest.mark.parametrize("number", MARKED, ids=lambda number: f"fault {number}")
def test_every_fault_number_on_a_test_is_in_the_table(number):
    assert number in FAULTS, MARKED[number]


def test_every_test_named_in_the_table_exists():
    for place in [place for fault in FAULTS.values() for place in fault.elsewhere]:
        file, _, name = place.partition("::")
        functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert name in {getattr(function, "name", None) for function in functions}, place


def test_the_faults_are_numbered_without_gaps():
    assert list(FAULTS) == list(range(1, len(FAULTS) + 1))
