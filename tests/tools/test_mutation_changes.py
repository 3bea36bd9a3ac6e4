"""tests/mutations: what a mutant names is found after renames and moves, and each change does what it says."""

import ast

import pytest

from tests.mutations.change import (
    always,
    argument,
    both,
    builtin,
    drop,
    early,
    entry,
    in_this_thread,
    insert,
    inverted,
    leave,
    never,
    nothing_on,
    operator,
    part,
    repeat,
    swap,
    text,
    value,
    without_the_first,
)
from tests.mutations.function import find
from tests.mutations.place import (
    ASSIGNMENT,
    AWAIT,
    CALL,
    CALLED,
    COMPREHENSION,
    EXCEPT,
    IF,
    OR,
    RETURN,
    WHILE,
    WITH,
    Misfit,
    comparison,
)

QUEUE = '''"""A module."""  # with a comment

class Queue:
    @decorated
    def put(self, item):
        if len(self.items) >= self.bound:  # full
            raise QueueFull("full")
        self.items.append("""
two lines""")

    def get(self):  # another comment
        return self.items.pop()
'''


def package(folder, **modules):
    for name, source in modules.items():
        (folder / "evbus_like").mkdir(exist_ok=True)
        (folder / "evbus_like" / f"{name}.py").write_text(source)
    return folder / "evbus_like"


def test_all_but_the_function_stays_as_it_is_and_keeps_its_comments(tmp_path):
    function = find("Queue.put", package(tmp_path, queue=QUEUE))

    never(IF).edit(function.node)

    assert function.written_as(function.node) == QUEUE.replace(
        "len(self.items) >= self.bound:  # full", "False:"
    ).replace('"full"', "'full'").replace('"""\ntwo lines"""', r"'\ntwo lines'")


@pytest.mark.parametrize("name", ["Queue.put", "store.Queue.put", "evbus_like.store.Queue.put"])
def test_a_function_is_found_in_any_file_whatever_else_was_renamed(tmp_path, name):
    renamed = QUEUE.replace("items", "events").replace("bound", "limit").replace("item", "event").replace("full", "no")
    function = find(name, package(tmp_path, other="def put(): ...", store=renamed))

    never(IF.holding("QueueFull")).edit(function.node)

    assert function.name == "evbus_like.store.Queue.put"
    assert "if False" in ast.unparse(function.node)


def test_a_function_in_a_function_is_found_by_both_names(tmp_path):
    nested = "def outer():\n    if True:\n        def inner():\n            return 1\n"
    function = find("outer.inner", package(tmp_path, module=nested))
    assert "return 1" in function.written_as(function.node)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Queue.push", r"the package has no function Queue\.push: give the name that it has now"),
        ("Lane.put", r"no function Lane\.put \(there is evbus_like\.one\.Queue\.put, evbus_like\.two\.Queue\.put\)"),
        ("put", r"put may be evbus_like\.one\.Queue\.put or evbus_like\.two\.Queue\.put: put the class or the module"),
    ],
)
def test_a_function_that_is_gone_or_not_the_only_one_is_an_error(tmp_path, name, message):
    with pytest.raises(Misfit, match=message):
        find(name, package(tmp_path, one=QUEUE, two=QUEUE))


@pytest.mark.parametrize("place", [IF, IF(1, of=3), RETURN, IF.holding("d")])
def test_a_place_that_is_gone_or_not_the_only_one_is_an_error_with_its_lines(place):
    function = ast.parse("if a:\n    b()\nelif c:\n    b()")
    with pytest.raises(Misfit, match=r"of the kind '.*' \(lines: (1, 3|none)\).*counts on [13]: say which one is"):
        drop(place).edit(function)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (always(IF), "if a:\n    b()", "if True:\n    b()"),
        (never(WHILE), "while a:\n    b()", "while False:\n    b()"),
        (never(IF(2, of=2)), "if a:\n    b()\nelif c:\n    d()", "if a:\n    b()\nelif False:\n    d()"),
        (inverted(IF), "if a:\n    b()", "if not a:\n    b()"),
        (value(ASSIGNMENT(2, of=2), "None"), "a = b\nc = d", "a = b\nc = None"),
        (value(RETURN, "False"), "return a", "return False"),
        (argument(AWAIT, 2, "None"), "await a(b, c)", "await a(b, None)"),
        (argument(CALLED.holding("c"), 1, "0"), "a = b.get('c')", "a = b.get(0)"),
        (entry("acks", "1"), "a = {'b': c, **d, 'acks': 'all'}", "a = {'b': c, **d, 'acks': 1}"),
        (operator(comparison(">="), ">"), "a >= b == c", "a > b == c"),
        (operator(OR, "and"), "a or b", "a and b"),
        (part(OR, "values", "False", at=2), "a or b", "a or False"),
        (
            part(EXCEPT, "type", "OSError"),
            "try:\n    a()\nexcept B:\n    c()",
            "try:\n    a()\nexcept OSError:\n    c()",
        ),
        (text("FULL", "OFF"), "a('b = FULL')", "a('b = OFF')"),
        (builtin("all", "any"), "all(a)", "any(a)"),
        (builtin("extend", "append"), "a.extend(b)", "a.append(b)"),
        (without_the_first(COMPREHENSION), "[a for a in b]", "[a for a in list(b)[1:]]"),
        (drop(CALL.holding("B")), "if a:\n    c(B)\nd()", "if a:\n    pass\nd()"),
        (leave(WITH), "with a:\n    b()", "return"),
        (repeat(CALL), "a()", "a()\na()"),
        (early(CALL, before=ASSIGNMENT), "a = await b()\nif a:\n    c()", "c()\na = await b()\nif a:\n    c()"),
        (insert("c()", before=RETURN), "if a:\n    return", "if a:\n    c()\n    return"),
        (swap(AWAIT, CALL), "await a()\nb()", "b()\nawait a()"),
        (both(drop(RETURN), always(IF)), "if a:\n    return", "if True:\n    pass"),
        (
            nothing_on("TimeoutError", WITH),
            "async with a:\n    b = await c()",
            "try:\n    async with a:\n        b = await c()\nexcept TimeoutError:\n    b = None",
        ),
    ],
    ids=str,
)
def test_a_change_does_what_it_says(change, before, after):
    tree = ast.parse(before)
    change.edit(tree)
    assert ast.unparse(ast.fix_missing_locations(tree)) == after


def test_what_ran_in_a_thread_runs_at_once_and_gives_a_future():
    tree = ast.parse("made = loop.run_in_executor(pool, function, 1, 2)")
    in_this_thread(CALLED).edit(tree)

    class Loop:
        def create_future(self):
            return self

        def set_result(self, result):
            self.result = result

    names = {"loop": Loop(), "function": lambda *arguments: arguments}
    exec(ast.unparse(ast.fix_missing_locations(tree)), names)
    assert names["made"].result == (1, 2)
