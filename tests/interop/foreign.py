"""Other systems' clients: where one is not installed, the test is skipped, and fails in CI."""

import importlib

import pytest

from tests.brokers.needs import in_ci


def need(*names):
    """Give modules; the test is skipped if one cannot be imported."""
    try:
        found = [importlib.import_module(name) for name in names]
    except ImportError as error:
        reason = f"{error}: pip install -r requirements/test.txt"
        (pytest.fail if in_ci() else pytest.skip)(reason)
    return found[0] if len(found) == 1 else found
