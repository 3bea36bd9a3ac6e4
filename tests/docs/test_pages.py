"""What the pages show works, and what they link to exists."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, blocks, matches, replaced, run, session

PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "examples/README.md"])
PAGES = [page for page in PAGES if "_build" not in page.parts]
README = ROOT / "README.md"


def named(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_python_block_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, named(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_to_a_file_leads_to_an_existing_file(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_names_a_path_of_one_machine(page):
    assert not re.search(r"/(work|root|tmp|home)/", page.read_text(encoding="utf-8"))


def test_the_python_program_of_the_readme_prints_what_the_readme_shows(tmp_path):
    text = README.read_text(encoding="utf-8")
    programs = [block.text for block in blocks(README) if block.language == "python"]
    assert len(programs) == 1
    shown = [line[4:] for line in re.search(r"^```\n\n((?:    .*\n)+)", text, re.MULTILINE)[1].splitlines()]
    ran = run([sys.executable, "-c", programs[0]], tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert matches(shown, ran.stdout), ran.stdout


def test_the_evbus_commands_of_the_readme_work_with_its_credentials_file(tmp_path, rabbitmq, kafka):
    # Given the file of the README, with the brokers of this run
    (profiles,) = [block.text for block in blocks(README) if block.language == "yaml"]
    addresses = {"amqp://user:password@rabbit.example.com/": rabbitmq.url, "kafka1.example.com:9092": kafka.bootstrap}
    (tmp_path / "credentials.yml").write_text(replaced(profiles, addresses))
    (tmp_path / "credentials.yml").chmod(0o600)
    (tmp_path / "events.ndjson").write_text('{"routing_key": "orders.new", "body": {"id": 1}}\n')
    # When every evbus command of the README is run
    commands = [line for block in blocks(README) for line in block.text.splitlines() if line.startswith("evbus ")]
    assert len(commands) == 3
    for command in commands:
        ran = run(command, tmp_path)
        # Then each succeeds
        assert ran.returncode == 0, f"{command}\n{ran.stdout}"


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=named)
def test_every_make_target_named_on_a_page_exists(page):
    targets = {target for block in blocks(page) for target in re.findall(r"^make (\w+)", block.text, re.MULTILINE)}
    assert targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, timeout=60)


def test_make_run_prints_the_result_of_the_demo(tmp_path):
    # Given an environment that is installed already, so that make has nothing to fetch
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    for name in ("python", "evbus"):
        (environment / "bin" / name).symlink_to(Path(sys.executable).parent / name)
    os.utime(environment / "bin" / "python", (0, 0), follow_symlinks=False)
    (environment / ".run").touch()
    # When
    ran = run(["make", "run", f"VENV={environment}"], ROOT)
    # Then
    assert ran.returncode == 0, ran.stdout
    assert "329 read back from memory, 329 with equal bodies" in ran.stdout


def test_the_plans_of_the_scaling_page_are_those_that_the_command_prints(tmp_path):
    sessions = [
        step for block in blocks(DOCS / "scaling.md") if block.language == "console" for step in session(block.text)
    ]
    assert len(sessions) == 4
    for command, expected in sessions:
        ran = run(command, tmp_path)
        assert ran.returncode == 0, ran.stdout
        assert matches(expected, "\n".join(line.rstrip() for line in ran.stdout.splitlines())), ran.stdout


def test_the_test_shown_on_the_hub_page_passes(tmp_path):
    (test,) = [block.text for block in blocks(DOCS / "reference/hub.md") if "async with running" in block.text]
    (tmp_path / "test_sale.py").write_text(test)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    ran = run([sys.executable, "-m", "pytest", "-q"], tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_the_sphinx_configuration_does_not_contain_the_word_that_pop_scans_for():
    assert "DY" + "NE" not in (ROOT / "conf.py").read_text(encoding="utf-8")


def test_the_documentation_builds_without_warnings(tmp_path):
    pytest.importorskip("sphinx", reason="make check installs sphinx, and builds the pages, too")
    pytest.importorskip("furo")
    ran = run([sys.executable, "-m", "sphinx", "-W", "-q", "-c", ".", "docs", str(tmp_path)], ROOT)
    assert ran.returncode == 0, ran.stdout


def test_console_output_is_compared_line_by_line():
    assert session("$ a\nx\n$ b\n") == [("a", ["x"]), ("b", [])]
    assert matches(["one ...", "..."], "one two\nthree\n")
    assert not matches(["one"], "one\ntwo\n")
    assert shutil.which("make")
