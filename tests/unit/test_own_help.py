"""The help of an option that several subcommands share says of each what it does there."""

import pytest

from evbus_like import conf
from evbus_like.cli.main import COMMANDS
from evbus_like.cli.parser import PART, own_help

SHARED = "evbus plan, evbus demo: events a second. evbus dead: replay: letters a second. evbus pause: why"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("evbus plan", "Events a second"),
        ("evbus demo", "Events a second"),
        ("evbus dead", "replay: letters a second"),
        ("evbus pause", "Why"),
    ],
)
def test_the_help_has_only_the_part_of_its_subcommand(command, text):
    assert own_help(SHARED, command) == text


def test_a_help_without_parts_is_for_all():
    assert own_help("ls: also list them. As `evbus dead ls`", "evbus dead") == "ls: also list them. As `evbus dead ls`"


def test_every_option_has_a_help_in_each_of_its_subcommands():
    for name, spec in conf.CLI_CONFIG.items():
        if "help" in (setting := conf.CONFIG.get(name, {})):
            for command in spec["subcommands"]:
                assert own_help(setting["help"], f"evbus {command}"), (name, command)
            named = {each for names in PART.split(setting["help"])[1::2] for each in names.split(", ")}
            assert named <= {f"evbus {command}" for command in COMMANDS}, name
