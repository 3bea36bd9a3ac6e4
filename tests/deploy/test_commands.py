"""The commands that deployment, operations and the runbook tell an operator to type are commands of this release."""

import copy
import re
import shlex

import pytest

from evbus_like import conf
from evbus_like.cli import main
from tests.docs.blocks import DOCS

TEXT = "".join((DOCS / name).read_text() for name in ("deployment.md", "operations.md"))
INLINE = re.findall(r"`(?:[^`\n]* )?(?:\S*/)?evbus ([a-z][^`\n]*)`", TEXT)
IN_BLOCKS = re.findall(r"^[$]? ?(?:[^`#\n]* )?evbus ([a-z][^#>|\n]*)", TEXT, re.MULTILINE)
WHOLE = sorted(
    {line.strip() for line in [*INLINE, *IN_BLOCKS] if line.split()[0] in main.COMMANDS} - {"completion"}
)  # a mention


@pytest.fixture(scope="module")
def parser():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [])
        for section in ("CONFIG", "CLI_CONFIG", "SUBCOMMANDS"):
            patch.setattr(conf, section, copy.deepcopy(getattr(conf, section)))  # pop adds its own to them
        yield main.parser()


@pytest.mark.parametrize("line", WHOLE)
def test_the_command_exists_with_its_options(parser, line):
    command = shlex.split(line.partition(" > ")[0])
    assert parser.parse_args(command)._subparser_ == command[0]


def test_the_pages_name_many():
    assert len(WHOLE) > 12
