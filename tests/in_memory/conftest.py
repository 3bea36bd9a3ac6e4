"""Fixtures of the tests of the whole bus in memory."""

from tests.unit.conftest import no_system_certificates

__all__ = ["no_system_certificates"]
