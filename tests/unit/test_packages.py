"""The conf.py of packages with plugins: what is wrong with one is said, with its path."""

import sys

import pop.hub
import pytest

from evbus_like.errors import HandlerError
from evbus_like.hub import packages

WRONG = [
    (
        'DYNE = {"handler": ["handlr"]}',
        r"DYNE names the folder 'handlr' for 'handler', and there is no '.*shop/handlr'",
    ),
    ('DYNE = {"handler": ["handler.py"]}', r"there is no '.*shop/handler/py'"),
    ('DYNE = {"handler": ["handler", "a\\0b"]}', r"DYNE names the folder 'a\\x00b'"),
    ('DYNE = {"middleware": ["nowhere"]}', "DYNE names the folder 'nowhere' for 'middleware'"),
    ('DYNE = {"handler": "handler"}', "DYNE must have a list of folders for 'handler', .* not 'handler'"),
    ('DYNE = {"handler": [""]}', "DYNE must have a list of folders"),
    ('DYNE = {"handler": [7]}', r"DYNE must have a list of folders for 'handler', .* not \[7\]"),
    ('DYNE = {"handler": None}', "DYNE must have a list of folders"),
    ('DYNE = {7: ["handler"]}', "has the key 7"),
    ('DYNE = ["handler"]', "DYNE must map dynes to lists of folders, .* not be a list"),
    ('DYNE = {"handler": ["handler"]}\nCONFIG = 7', "CONFIG must map names to mappings, not be 7"),
    ('DYNE = {"handler": ["handler"]}\nCLI_CONFIG = {"a": 7}', "CLI_CONFIG must map names to mappings"),
    ('DYNE = {"handler": [', r"it failed, so nothing of its package is found: SyntaxError: .*line 1"),
    ('import nope\nDYNE = {"handler": ["handler"]}', "it failed, .* ModuleNotFoundError: No module named 'nope'"),
    ("# ä\xff\nDYNE = {}", "it failed, .* UnicodeDecodeError"),
    ('DYNE = {"handler": ["handler"]}\nimport sys\nsys.exit(3)', r"it ends the program, with SystemExit\(3\)"),
]
RIGHT = [
    'DYNE = {"handler": ["handler"], "shop": ["handler"]}\nCONFIG = {"port": {"default": 1, "help": "Port"}}',
    'raise ValueError("no word of the dynes, so not a file of pop")',
    'DYNE = {"cloud": ["not.there"]}',  # which another program uses
]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes the conf.py of a package on sys.path."""

    def make(text, place="app"):
        folder = tmp_path / place / "shop"
        (folder / "handler").mkdir(parents=True)
        (folder / "conf.py").write_bytes(text.encode("latin-1"))
        monkeypatch.setattr(sys, "path", [str(tmp_path / place), *sys.path])
        return folder

    return make


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_conf_py_is_named(write, text, problem):
    folder = write(text)
    with pytest.raises(HandlerError, match=f"{folder}/conf.py: .*{problem}"):
        packages.check()


@pytest.mark.parametrize("text", RIGHT)
def test_a_right_one_and_one_that_is_not_ours_are_none_of_our_business(write, text):
    write(text)
    assert packages.check() == []


def test_a_wrong_one_of_an_installed_package_is_returned(write):
    folder = write('DYNE = {"handler": ["handlr"]}', "site-packages")
    (problem,) = packages.check()
    assert problem.startswith(f"{folder}/conf.py: DYNE names the folder 'handlr'")


@pytest.mark.parametrize("dyne", ["event", "ingress"])
def test_a_program_that_adds_the_bus_is_told_of_a_folder_that_is_not_there(write, dyne):
    folder = write(f'DYNE = {{"{dyne}": ["nowhere"]}}')
    hub = pop.hub.Hub()
    with pytest.raises(HandlerError, match=f"{folder}/conf.py: DYNE names the folder 'nowhere' for '{dyne}'"):
        hub.pop.sub.add(dyne_name="evbus")
