"""Fixtures of the unit tests."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from evbus_like.testing import new_hub


@pytest.fixture(scope="package", autouse=True)
def no_system_certificates() -> Iterator[None]:
    """No test here connects to anything, and OpenSSL takes 50 ms to read the certificates of the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture(scope="module")
def one_hub() -> Any:
    """A hub for all tests of a file, which leave it as it is."""
    return new_hub()
