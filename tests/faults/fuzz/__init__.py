"""Fuzzed messages and requests for a running worker."""
