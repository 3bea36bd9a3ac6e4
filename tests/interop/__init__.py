"""Tests with the real nameko on the other side of the broker."""
