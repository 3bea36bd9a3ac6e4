"""Build wheel and source distribution, check them, and try both in fresh environments: `python -m tools.release`.

`--url https://host/owner/name` is where the repository is: links of the README become absolute, and the metadata get
their URLs. Without it the README of the package has its links as plain text, since an index could not follow them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PYTHONS = ("3.11", "3.12", "3.13")
LARGEST = 1_500_000  # bytes of the wheel
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!\w+:|#)[^)\s]+)\)")
PICTURE = re.compile(r"<picture>.*?</picture>\n*", re.DOTALL)
SOURCE = re.compile(r'(?P<name>src|srcset)="(?P<target>(?!\w+:)[^"]+)"')
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "*.so", "_build", "__pycache__", ".*_cache"
)


def for_index(readme: str, url: str | None, version: str) -> str:
    """Return the README as a package index can show it: with absolute links, or without the relative ones."""
    if url is None:
        return LINK.sub(lambda match: "" if match["image"] else match["text"], PICTURE.sub("", readme))
    pages, files = f"{url}/blob/v{version}", f"{url}/raw/v{version}"

    def absolute(match: re.Match[str]) -> str:
        return f"{match['image']}[{match['text']}]({files if match['image'] else pages}/{match['target']})"

    return LINK.sub(absolute, SOURCE.sub(rf'\g<name>="{files}/\g<target>"', readme))


def files_of(readme: str) -> list[tuple[str, str]]:
    """Return the files that the README shows: the name is in the first line of each."""
    return re.findall(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def with_urls(project: str, url: str) -> str:
    """Return pyproject.toml with the project's URLs."""
    urls = {
        "Source": "",
        "Documentation": "/tree/main/docs",
        "Changelog": "/blob/main/CHANGELOG.md",
        "Issues": "/issues",
    }
    lines = "".join(f'{name} = "{url}{path}"\n' for name, path in urls.items())
    return project.replace("[project.scripts]", f"[project.urls]\n{lines}\n[project.scripts]")


def run(*command: str | Path, cwd: Path = ROOT, **more: str) -> None:
    """Run a command in a clean environment; exits with its output when it fails."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**own, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        sys.exit(f"release: {' '.join(map(str, command))} ended with {ran.returncode}:\n{ran.stdout[-4000:]}")


def step(text: str) -> None:
    """Say what is done now."""
    print(f"release: {text}", flush=True)


def build(folder: Path, url: str | None) -> tuple[Path, Path]:
    """Build both distributions from a copy of the tree, and return the wheel and the source distribution."""
    from evbus_like.version import version

    copy = folder / "source"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
    readme, project = copy / "README.md", copy / "pyproject.toml"
    readme.write_text(for_index(readme.read_text(encoding="utf-8"), url, version), encoding="utf-8")
    if url is not None:
        project.write_text(with_urls(project.read_text(encoding="utf-8"), url), encoding="utf-8")
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, copy)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def check(wheel: Path, sdist: Path) -> None:
    """Check the metadata and the contents."""
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    if wheel.stat().st_size > LARGEST:
        sys.exit(f"release: {wheel.name} has {wheel.stat().st_size:,} bytes; at most {LARGEST:,} are allowed")


def interpreters(wanted: Iterable[str]) -> dict[str, str]:
    """Find the interpreters; exits if there is none, and with CI=true if one is missing."""
    found = {}
    for version in wanted:
        for program in (
            f"python{version}",
            *sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))),
        ):
            is_there = (
                shutil.which(program) and subprocess.run([program, "-c", ""], capture_output=True).returncode == 0
            )
            if is_there:
                found[version] = program
                break
        else:
            step(f"Python {version} is not on this machine: not tried")
    if not found or (os.environ.get("CI") and len(found) < len(tuple(wanted))):
        sys.exit("release: a Python is missing that the package supports")
    return found


def try_wheel(python: str, wheel: Path, folder: Path) -> None:
    """Install the wheel in a fresh environment, and use it in an empty folder."""
    run(python, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[http,testing]", cwd=folder)
    for name, text in files_of((ROOT / "README.md").read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for command in (
        ["demo"],
        ["--version"],
        ["services", "--help"],
        ["call-handler", "shipping.ship", "--body", '{"id": 7}'],
    ):
        run(folder / "venv/bin/evbus", *command, cwd=folder)


def try_sdist(python: str, sdist: Path, folder: Path) -> None:
    """Unpack the source distribution, and run its Makefile as a newcomer does."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if path.name.startswith("evbus_like-"))
    run("make", "run", f"PYTHON={python}", cwd=source)
    run("make", "unit", f"PYTHON={python}", cwd=source)


def main() -> None:
    """Do all steps."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--url", help="where the repository is, such as https://host/owner/name")
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="VERSION", help="the interpreters to try")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        step("build" if asked.url else "build; without --url the package's README has no links")
        wheel, sdist = build(Path(name), asked.url and asked.url.rstrip("/"))
        step("check")
        check(wheel, sdist)
        for version, python in interpreters(asked.python).items():
            for what, attempt, file in (("wheel", try_wheel, wheel), ("sdist", try_sdist, sdist)):
                step(f"try the {what} on Python {version}")
                folder = Path(name) / f"{what}-{version}"
                folder.mkdir()
                attempt(python, file, folder)
    for file in (wheel, sdist):
        step(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes, checked and tried")


if __name__ == "__main__":
    main()
