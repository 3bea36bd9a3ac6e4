"""`evbus completion` and the man page: the shells and man read them, and they know every subcommand."""

import subprocess
import sys

import pytest

from evbus_like import conf
from evbus_like.cli import main
from tests.deploy.programs import HANG, ROOT, program, ran
from tests.docs.blocks import run

BASH = """
source evbus.bash
complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shtab_evbus; echo "${COMPREPLY[@]}"; }
complete_it evbus dem
complete_it evbus dead re
complete_it evbus run --watch
complete_it evbus run --acct-file evb
"""
FISH = """
source evbus.fish
for line in "evbus dem" "evbus dead re" "evbus run --watch"
    complete -C $line
end
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A folder with the script of each shell."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in conf.CLI_CONFIG["shell"]["choices"]:
        made = run(["evbus", "completion", shell], folder)
        assert made.returncode == 0, made.stdout
        (folder / f"evbus.{shell}").write_text(made.stdout)
    return folder


def test_bash_completes_subcommands_actions_options_and_files(scripts):
    code, out = ran("bash", "-c", BASH, cwd=scripts)

    assert code == 0, out
    command, action, option, files = (line.split() for line in out.splitlines())
    assert (command, action, option) == (["demo"], ["replay"], ["--watch-credentials"])
    assert "evbus.bash" in files


def test_fish_completes_subcommands_actions_and_options(scripts):
    code, out = ran(program("fish", "Debian's package fish"), "--no-config", "-c", FISH, cwd=scripts)

    assert code == 0, out
    assert [line.split()[0] for line in out.splitlines()] == ["demo", "replay", "--watch-credentials"]


def test_zsh_can_read_its_script(scripts):
    assert ran(program("zsh", "Debian's package zsh"), "-n", scripts / "evbus.zsh") == (0, "")


def test_other_commands_do_not_import_what_makes_the_scripts(tmp_path):
    modules = "import sys; from evbus_like.cli import main; sys.exit('shtab' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", modules], cwd=tmp_path, timeout=HANG).returncode == 0


def test_man_shows_the_page_with_every_subcommand_without_a_warning(tmp_path):
    code, out = ran(sys.executable, "-m", "tools.man", tmp_path, cwd=ROOT)
    assert (code, out) == (0, "")

    code, out = ran(program("man", "Debian's package man-db"), "--warnings", "-P", "cat", "-l", tmp_path / "evbus.1")

    assert code == 0, out
    assert "warning:" not in out
    assert "evbus - an event bus" in " ".join(out.split())  # man fills its lines with spaces
    shown = {line.strip() for line in out.splitlines()}
    assert {f"evbus {name}" for name in main.COMMANDS} <= shown
