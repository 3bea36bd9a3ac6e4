"""The real nameko, if this machine can run it."""

import pytest

from tests.interop import venv


@pytest.fixture(scope="session")
def nameko_python():
    """An interpreter that has nameko 2.14.1; without one the test is skipped: the recorded form is run everywhere."""
    try:
        return venv.python()
    except venv.Unavailable as problem:
        reason = f"{problem}; the recorded form (test_nameko_recorded.py) covers this test"
    return pytest.skip(reason)
