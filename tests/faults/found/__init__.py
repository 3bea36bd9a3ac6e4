"""Tests of what is not right yet; see README.md."""
