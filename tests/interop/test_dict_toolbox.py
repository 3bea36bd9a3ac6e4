"""The oldest dict-toolbox that is allowed, which idem wants: credentials are read and hidden as with the newest."""

import os
import subprocess
import sys

import pytest

from tests.brokers.needs import in_ci
from tests.interop import venv

OLDEST = "4.1.0"
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
TESTS = ("test_secrets", "test_credentials", "test_destination", "test_plugin_source", "test_profiles", "test_logs")


@pytest.fixture(scope="session")
def oldest():
    """A folder with the oldest version, in front of the path."""
    folder = venv.place("dict-toolbox", OLDEST)
    with venv.alone(folder):
        if not folder.exists():
            try:
                venv.run([*PIP, "--target", str(folder), f"dict-toolbox=={OLDEST}"], folder)
            except venv.Unavailable as problem:
                (pytest.fail if in_ci() else pytest.skip)(str(problem))
    return folder


def test_credentials_are_read_and_hidden_with_the_oldest_dict_toolbox(oldest):
    own = {**os.environ, "PYTHONPATH": str(oldest)}
    code = "import importlib.metadata as m; print(m.version('dict-toolbox'))"
    found = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == OLDEST

    tests = [f"tests/unit/{name}.py" for name in TESTS]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-profile", "quick", *tests],
        env=own,
        cwd=venv.ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout
