"""What the project says of itself in several files is the same in all of them."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def test_ci_runs_on_every_python_that_the_package_supports():
    versions = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_ci_runs_what_everybody_can_run():
    last = WORKFLOW["jobs"]["test"]["steps"][-1]
    assert last == {"run": ".ci/run", "env": {"PYTHON": "python${{ matrix.python }}"}}
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_hooks_before_a_commit_use_the_tools_of_make_check():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["id"] for hook in local["hooks"]] == ["ruff-check", "ruff-format", "mypy"]
    makefile = (ROOT / "Makefile").read_text()
    for hook in local["hooks"]:
        command = hook["entry"].replace("--force-exclude", "").strip().removeprefix(".venv/bin/python ")
        assert f"$(PY) {command}" in makefile
