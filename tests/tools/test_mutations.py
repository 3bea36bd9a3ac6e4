"""tests/mutations: the list fits the package, and verdicts say what happened. `python -m tests.mutations` tries it."""

import ast
from dataclasses import replace
from functools import cache

import pytest

from tests.mutations import __main__ as command
from tests.mutations.change import builtin, never
from tests.mutations.listing import MUTANTS, chosen
from tests.mutations.mutant import ROOT, Mutant
from tests.mutations.place import IF, Misfit
from tests.mutations.trial import Result, copy_of_tree, judge

MUTANT = Mutant(
    "x", "A promise.", "Queue.put_nowait", never(IF.holding("QueueFull")), "tests/unit/test_queue.py::test_x"
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_its_function_and_nothing_else_and_what_it_makes_compiles(mutant):
    function, changed = mutant.broken()
    source, broken = function.source.splitlines(), function.written_as(changed).splitlines()
    after = len(source) - (function.node.end_lineno or 0)

    compile("\n".join(broken), function.path.name, "exec")
    assert source != broken
    assert source[len(source) - after :] == broken[len(broken) - after :]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_test_of_a_mutant_exists(mutant):
    file, _, name = mutant.test.partition("[")[0].partition("::")
    assert name in functions_of(file)


@cache
def functions_of(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {getattr(node, "name", None) for node in ast.walk(tree)}


def test_each_mutant_has_a_name_of_its_own_and_a_sentence():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.breaks.endswith(".") for mutant in MUTANTS)


def test_a_mutant_is_applied_to_the_copy_and_never_in_place():
    function, _ = MUTANT.broken()
    with copy_of_tree() as tree:
        MUTANT.apply(tree)
        assert (tree / function.path.relative_to(ROOT)).read_text() != function.source
        with pytest.raises(Misfit, match=r"queue\.py has changed during the run"):
            MUTANT.apply(tree)
    assert function.path.read_text() == function.source
    assert not tree.exists()


def test_a_change_that_changes_nothing_is_an_error():
    with pytest.raises(Misfit, match="changes nothing"):
        replace(MUTANT, change=builtin("append", "append")).broken()


def test_the_diff_of_a_mutant_shows_what_it_changes():
    assert "\n+    if False:" in MUTANT.diff()


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (1, "1 failed in 0.2s", "noticed"),
        (1, "1 failed, 1 passed in 0.2s", "noticed"),
        (None, "", "noticed"),  # the test hangs
        (0, "1 passed in 0.2s", "survived"),
        (0, "1 skipped in 0.2s", "skipped"),
        (1, "1 error in 0.2s", "error"),  # the brokers did not start
        (1, "1 passed, 1 error in 0.2s", "error"),  # a library leaks
        (1, "1 passed in 0.2s\nSystemError: something", "error"),
        (2, "1 error in 0.2s", "error"),
        (4, "no tests ran", "error"),
    ],
)
def test_a_verdict_says_whether_a_test_that_ran_has_failed(code, output, verdict):
    assert judge(code, output) == verdict


def test_a_result_tells_what_the_test_said_first():
    assert Result(MUTANT, "noticed", 0.1, "F\nE   assert 1 == 2\nE    +  where\n1 failed").reason == "assert 1 == 2"
    assert Result(MUTANT, "noticed", 0.1, "").reason == "no answer in time"


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["noticed"], 0),
        (["noticed", "skipped"], 0),
        (["noticed", "survived"], 1),
        (["error"], 2),
        (["error", "survived"], 1),
    ],
)
def test_the_exit_code_tells_of_a_survivor(verdicts, code, monkeypatch):
    given = iter(verdicts)
    monkeypatch.setattr(command, "chosen", lambda patterns: [MUTANT] * len(verdicts))
    monkeypatch.setattr(command, "unbroken", lambda mutants: "")
    monkeypatch.setattr(command, "trial", lambda mutant, limit: Result(mutant, next(given), 0.1, "output"))

    assert command.main([]) == code


def test_some_can_be_chosen_by_name_or_by_test():
    assert [mutant.name for mutant in chosen(["no-fsync"])] == ["no-fsync"]
    assert {mutant.test.split("::")[0] for mutant in chosen(["tests/unit/test_put.py*"])} == {"tests/unit/test_put.py"}
    assert chosen([]) == list(MUTANTS)
