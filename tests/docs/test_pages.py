"""What the pages show works, and what they link to exists."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, blocks, environment, matches, replaced, run, session

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


def lines_of_the_readme(folder, url):
    """Write the files of the README into a folder, as a reader does; returns the commands that it shows."""
    for block in blocks(README):
        if block.language in ("python", "yaml"):
            name = block.text.splitlines()[0].removeprefix("# ")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(replaced(block.text, {"amqp://guest:guest@localhost/": url}))
    (commands,) = [block.text for block in blocks(README) if "sell.py" in block.text and block.language == "shell"]
    return [line.partition("#")[0].strip() for line in commands.splitlines()]


def test_the_fifteen_lines_of_the_readme_ship_an_order(tmp_path, rabbitmq):
    # Given
    mode, worker, program = lines_of_the_readme(tmp_path, rabbitmq.url)
    assert run(mode, tmp_path).returncode == 0
    # When
    with subprocess.Popen(
        worker.split(), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        until(running.stdout, "every handler receives")
        ran = run(program, tmp_path)
        until(running.stdout, "shipping order 7")
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    # Then
    assert ran.returncode == 0, ran.stdout
    assert running.returncode == 0, out


def until(lines, text):
    """Read lines until one contains the text."""
    seen = []
    for line in lines:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} did not come: {seen}")


def test_the_handler_of_the_readme_is_called_without_a_broker(tmp_path):
    lines_of_the_readme(tmp_path, "")
    (command,) = re.findall(r"`(evbus call-handler [^`]+)`", README.read_text(encoding="utf-8"))
    ran = run(command, tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert "shipping order 7\n" in ran.stdout


def test_the_readme_shows_no_more_than_fifteen_lines_of_code_and_credentials():
    shown = [block.text for block in blocks(README) if block.language in ("python", "yaml")]
    assert len([line for text in shown for line in text.splitlines() if line and not line.startswith("#")]) <= 15


def test_the_package_index_needs_no_file_beside_the_readme_to_show_it():
    text = README.read_text(encoding="utf-8")
    assert "pip install evbus-like" in text
    for target in re.findall(r'(?:src|srcset)="([^"]+)"', text):
        assert (ROOT / target).is_file()


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=named)
def test_every_make_target_named_on_a_page_exists(page):
    targets = set(re.findall(r"(?:^|`)make (\w+)", page.read_text(encoding="utf-8"), re.MULTILINE))
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


def test_the_test_of_code_that_only_puts_passes(tmp_path):
    (test,) = [block.text for block in blocks(DOCS / "testing.md") if "async with running" in block.text]
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
